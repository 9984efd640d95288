//! The languages we write to people in.

use super::words;

words! {
    /// A language.
    #[derive(Default)]
    Locale, "locale", "invalid_locale";
    /// English.
    #[default]
    En = "en",
    /// Spanish.
    Es = "es",
    /// Portuguese.
    Pt = "pt",
}

impl Locale {
    /// The first of these languages that we know, as in `Accept-Language: pt-BR,en;q=0.8`; weights are not looked at.
    #[must_use]
    pub fn preferred(accept_language: &str) -> Option<Self> {
        let tags = accept_language.split(',').take(16);
        tags.filter_map(|tag| {
            let primary = tag.trim().split(['-', ';']).next()?.to_ascii_lowercase();
            primary.parse().ok()
        })
        .next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_known_by_its_primary_tag() {
        assert_eq!(Locale::preferred("pt-BR,en;q=0.8"), Some(Locale::Pt));
        assert_eq!(Locale::preferred("fr, ES-mx;q=0.9"), Some(Locale::Es));
        assert_eq!(Locale::preferred("de"), None);
        assert_eq!(Locale::preferred(""), None);
    }
}
