//! Queries. Every one of a tenant's rows takes the tenant; every one is bounded.

pub(super) mod audit;
pub(super) mod auth;
pub(super) mod chats;
pub(super) mod cluster;
pub(super) mod events;
pub(super) mod groups;
pub(super) mod keys;
pub(super) mod logins;
pub(super) mod messages;
pub(super) mod pacing;
pub(super) mod sessions;
pub(super) mod users;
