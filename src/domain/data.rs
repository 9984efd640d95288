//! What an event says, as the JSON it is stored and sent as: written once, never taken apart on its way.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::{Error, Result};

/// One JSON value, as text.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Data(Box<RawValue>);

impl Data {
    /// Writes a value down.
    ///
    /// # Errors
    /// `Bug` when it has no form in JSON.
    pub fn of(value: &impl Serialize) -> Result<Self> {
        serde_json::value::to_raw_value(value).map(Self).map_err(Error::bug)
    }

    /// Takes stored text.
    ///
    /// # Errors
    /// `Bug` when it is not JSON.
    pub fn stored(text: &str) -> Result<Self> {
        RawValue::from_string(text.to_owned()).map(Self).map_err(Error::bug)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Taken apart, for whoever must look inside.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::from_str(self.as_str()).unwrap_or_default()
    }
}

impl From<&Value> for Data {
    fn from(value: &Value) -> Self {
        Self(serde_json::value::to_raw_value(value).unwrap_or_default())
    }
}

/// Its size: what it says names people, and must not get into a log by accident.
impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.as_str().len())
    }
}

/// By what they say, not by how it is written.
impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str() || self.value() == other.value()
    }
}

impl PartialEq<Value> for Data {
    fn eq(&self, other: &Value) -> bool {
        self.value() == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_sent_as_it_was_stored() {
        let text = r#"{"text":"ação ✓","n":1}"#;
        let data = Data::stored(text).unwrap();
        assert_eq!(serde_json::to_string(&data).unwrap(), text);
        assert_eq!(data, serde_json::json!({"n": 1, "text": "ação ✓"}));
        assert!(Data::stored("{").is_err());
    }
}
