//! Linking by a typed code, against the engine's companion half of it.

use whatsapp_rust::wacore::libsignal::protocol::KeyPair;
use whatsapp_rust::wacore::pair_code::PairCodeUtils;

use super::companion::Companion;
use super::world::{NOW, World};
use crate::phone::stanza::bytes_of;
use crate::phone::{CompanionFinish, PhoneError, PrimaryHello};

const CODE: &str = "ABCD1234";

fn key(bytes: &[u8]) -> [u8; 32] {
    bytes.try_into().unwrap()
}

/// The engine's second stage.
fn answer(companion: &mut Companion, ephemeral: &KeyPair, code: &str, hello: &PrimaryHello) -> Vec<u8> {
    let primary =
        PairCodeUtils::decrypt_primary_ephemeral_pub(&hello.wrapped_primary_ephemeral, code).unwrap();
    let state = &mut companion.state;
    let (bundle, secret) =
        PairCodeUtils::prepare_key_bundle(ephemeral, &primary, &hello.primary_identity, &state.identity_key)
            .unwrap();
    state.adv_secret_key = secret;
    bundle
}

#[test]
fn both_sides_of_a_pairing_code_derive_the_same_secret() {
    let mut world = World::of(&["1"]);
    let mut companion = Companion::unlinked("1");
    let ephemeral = KeyPair::generate(&mut companion.vault.rng);
    let wrapped = PairCodeUtils::encrypt_ephemeral_pub(&key(ephemeral.public_key.public_key_bytes()), CODE);
    let hello = world.phone("1").enter_pair_code("abcd-1234", &wrapped, b"ref").unwrap();
    let node = hello.to_node();
    let part = |tag: &str| bytes_of(node.get_optional_child(tag).unwrap()).unwrap().to_vec();
    assert_eq!(part("link_code_pairing_ref"), b"ref");
    assert_eq!(part("primary_identity_pub"), world.phone("1").identity());
    assert_eq!(part("link_code_pairing_wrapped_primary_ephemeral_pub").len(), 80);

    let bundle = answer(&mut companion, &ephemeral, CODE, &hello);
    let identity = companion.vault.identity_public();
    let iq = PairCodeUtils::build_companion_finish_iq("1", bundle, &identity, b"ref", "1".into());
    let finish =
        CompanionFinish::from_node(iq.get_optional_child("link_code_companion_reg").unwrap()).unwrap();
    let offer = world.phone("1").finish_pair_code(&finish, NOW).unwrap();
    companion.accept(&mut world, &offer);
    assert_eq!(world.phone("1").linked_devices().len(), 1);
    let again = world.phone("1").finish_pair_code(&finish, NOW);
    assert!(matches!(again, Err(PhoneError::PairCode(_))), "a code works once");
}

#[test]
fn a_mistyped_code_and_a_foreign_reference_link_nothing() {
    let mut world = World::of(&["1"]);
    let mut companion = Companion::unlinked("1");
    let ephemeral = KeyPair::generate(&mut companion.vault.rng);
    let wrapped = PairCodeUtils::encrypt_ephemeral_pub(&key(ephemeral.public_key.public_key_bytes()), CODE);
    let hello = world.phone("1").enter_pair_code("ABCD1235", &wrapped, b"ref").unwrap();
    let bundle = answer(&mut companion, &ephemeral, CODE, &hello);
    let identity = companion.vault.identity_public();
    let mut finish =
        CompanionFinish { wrapped_bundle: &bundle, companion_identity: &identity, pairing_ref: b"ref" };
    let wrong = world.phone("1").finish_pair_code(&finish, NOW);
    assert_eq!(wrong, Err(PhoneError::PairCode("the code was wrong")));
    finish.pairing_ref = b"other";
    assert!(world.phone("1").finish_pair_code(&finish, NOW).is_err());
    assert!(world.phone("1").enter_pair_code("short", &wrapped, b"ref").is_err());
    assert!(world.phone("1").enter_pair_code(CODE, &wrapped[1..], b"ref").is_err());
    assert!(world.phone("1").linked_devices().is_empty());
}
