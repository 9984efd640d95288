//! What only Postgres promises.

