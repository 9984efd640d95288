//! Linking by QR code: what the engine's companion accepts, and what the phone refuses.

use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::wacore::adv::{decode_key_index_list, filter_devices_by_key_index};
use whatsapp_rust::wacore::libsignal::protocol::PublicKey;
use whatsapp_rust::wacore::pair::PairUtils;
use whatsapp_rust::wacore::store::traits::DeviceInfo;
use whatsapp_rust::waproto::whatsapp as wa;

use super::companion::Companion;
use super::world::{NOW, World};
use crate::phone::{MAX_COMPANIONS, PhoneError, Qr};

#[test]
fn a_code_reads_the_same_with_and_without_its_address() {
    let text = Companion::unlinked("1").qr_text();
    let plain: Qr = text.parse().unwrap();
    let full: Qr = format!(" https://wa.me/settings/linked_devices#{text}\n").parse().unwrap();
    assert!(plain == full);
    assert_eq!(plain.reference, "2@ref");
    assert_eq!(plain.adv_secret, [7; 32]);
    assert!(plain.client_type.is_some());
    for broken in ["", "a,b,c,d,e", "https://example.org/", &"x".repeat(5_000), &text[..text.len() / 2]] {
        assert!(broken.parse::<Qr>().is_err(), "{broken:.40}");
    }
}

#[test]
fn the_engine_accepts_the_offer_and_the_phone_accepts_its_answer() {
    let mut world = World::of(&["1"]);
    let companion = Companion::linked(&mut world, "1");
    let linked = world.phone("1").linked_devices();
    assert_eq!(linked.len(), 1);
    assert_eq!((linked[0].device, linked[0].linked_at), (companion.device, NOW));
}

#[test]
fn an_answer_of_somebody_else_is_refused_and_the_offer_stays_open() {
    let mut world = World::of(&["1", "2"]);
    let companion = Companion::unlinked("1");
    let stranger = Companion::unlinked("1");
    let qr: Qr = companion.qr_text().parse().unwrap();
    let offer = world.phone("1").link_by_qr(&qr, NOW).unwrap();
    let others = world.phone("2").link_by_qr(&stranger.qr_text().parse().unwrap(), NOW).unwrap();
    assert!(PairUtils::do_pair_crypto(&stranger.state, &offer.container).is_err(), "not the scanned device");
    let (blob, _) = PairUtils::do_pair_crypto(&stranger.state, &others.container).unwrap();
    let refused = world.phone("1").complete_link(offer.device, &blob, NOW);
    assert!(matches!(refused, Err(PhoneError::DeviceIdentity(_))), "{refused:?}");
    assert!(world.phone("1").linked_devices().is_empty());
    let (blob, _) = PairUtils::do_pair_crypto(&companion.state, &offer.container).unwrap();
    world.phone("1").complete_link(offer.device, &blob, NOW).unwrap();
    let twice = world.phone("1").complete_link(offer.device, &blob, NOW);
    assert_eq!(twice, Err(PhoneError::UnknownDevice(offer.device)));
}

#[test]
fn an_abandoned_offer_cannot_be_completed() {
    let mut world = World::of(&["1"]);
    let companion = Companion::unlinked("1");
    let offer = world.phone("1").link_by_qr(&companion.qr_text().parse().unwrap(), NOW).unwrap();
    world.phone("1").abandon_link(offer.device);
    let (blob, _) = PairUtils::do_pair_crypto(&companion.state, &offer.container).unwrap();
    assert!(world.phone("1").complete_link(offer.device, &blob, NOW).is_err());
}

#[test]
fn the_signed_list_names_exactly_the_linked_companions() {
    let mut world = World::of(&["1"]);
    let first = Companion::linked(&mut world, "1");
    let second = Companion::linked(&mut world, "1");
    let devices: Vec<DeviceInfo> = std::iter::once(DeviceInfo::new(0, None))
        .chain(
            world
                .phone("1")
                .linked_devices()
                .iter()
                .map(|one| DeviceInfo::new(u32::from(one.device), Some(one.key_index))),
        )
        .collect();
    let before = world.phone("1").key_index_ts();
    let list = decode_key_index_list(&world.phone("1").signed_key_index_list().unwrap()).unwrap();
    assert_eq!(filter_devices_by_key_index(&devices, &list).len(), 3);

    assert!(world.phone("1").unlink(first.device, NOW));
    assert!(!world.phone("1").unlink(first.device, NOW));
    let bytes = world.phone("1").signed_key_index_list().unwrap();
    let list = decode_key_index_list(&bytes).unwrap();
    assert!(list.timestamp > before, "a new list is newer even within one second");
    assert_eq!(list.timestamp, world.phone("1").key_index_ts());
    let left: Vec<u32> =
        filter_devices_by_key_index(&devices, &list).iter().map(|one| one.device_id).collect();
    assert_eq!(left, [0, u32::from(second.device)]);

    let signed = wa::ADVSignedKeyIndexList::decode_from_slice(&bytes).unwrap();
    let account = PublicKey::from_djb_public_key_bytes(&world.phone("1").identity()).unwrap();
    let message = [&[6, 2], signed.details.as_deref().unwrap()].concat();
    assert!(account.verify_signature(&message, signed.account_signature.as_deref().unwrap()));
}

#[test]
fn ids_rise_and_the_number_of_companions_is_limited() {
    let mut world = World::of(&["1"]);
    let first = Companion::linked(&mut world, "1").device;
    assert!(world.phone("1").unlink(first, NOW));
    let mut last = first;
    for _ in 0..MAX_COMPANIONS {
        let next = Companion::linked(&mut world, "1").device;
        assert!(next > last, "an unlinked device's id is not reused at once");
        last = next;
    }
    let qr: Qr = Companion::unlinked("1").qr_text().parse().unwrap();
    assert_eq!(world.phone("1").link_by_qr(&qr, NOW), Err(PhoneError::TooManyDevices));
}
