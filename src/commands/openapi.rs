//! `recado openapi`: prints the contract.

use anyhow::Result;

/// Prints the document.
///
/// # Errors
/// When it cannot be written as JSON.
#[expect(clippy::print_stdout, reason = "its output is the document")]
pub fn run() -> Result<u8> {
    println!("{}", serde_json::to_string_pretty(&crate::http::openapi())?);
    Ok(0)
}
