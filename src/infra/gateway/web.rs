//! WhatsApp itself, through whatsapp-rust, behind the [`Gateway`](super::Gateway) port.
