//! `.databrickscfg`: sections of `key = value`, one per profile.

use std::collections::BTreeMap;

use ini::{Ini, ParseOption};

use super::attributes::Attributes;
use super::error::AuthError;

/// The section that is no profile.
pub(super) const SETTINGS: &str = "__settings__";
/// The profile taken when none is named.
pub(super) const DEFAULT: &str = "DEFAULT";

/// The profiles of a file. They don't inherit, not even from `[DEFAULT]`.
pub(super) struct Profiles {
    profiles: BTreeMap<String, Attributes>,
    default: Option<String>,
}

impl Profiles {
    /// Reads the text; `file` names it in errors.
    pub(super) fn parse(text: &str, file: &str) -> Result<Self, AuthError> {
        let wrong = |why: String| AuthError::BadFile { file: file.to_owned(), why };
        let options = ParseOption { enabled_quote: false, enabled_escape: false, ..ParseOption::default() };
        let ini = Ini::load_from_str_opt(text.trim_start_matches('\u{feff}'), options)
            // The parser's message may quote a line, and with it a secret.
            .map_err(|error| wrong(format!("line {} is neither a section nor `key = value`", error.line)))?;
        let mut sections = BTreeMap::new();
        for (section, properties) in &ini {
            let mut keys = BTreeMap::new();
            for (key, value) in properties {
                let Some(name) = section else {
                    return Err(wrong("has keys before the first section".to_owned()));
                };
                if key.contains('\n') {
                    return Err(wrong(format!("[{name}] has a line that is no `key = value`")));
                }
                let key = key.to_ascii_lowercase();
                if keys.insert(key.clone(), value.to_owned()).is_some() {
                    return Err(wrong(format!("[{name}] has `{key}` twice")));
                }
            }
            if let Some(name) = section
                && sections.insert(name.to_owned(), keys).is_some()
            {
                return Err(wrong(format!("[{name}] is there twice")));
            }
        }
        let settings = sections.remove(SETTINGS).unwrap_or_default();
        let default = settings.get("default_profile").map(|name| name.trim().to_owned());
        let profiles = sections.iter().map(|(name, keys)| (name.clone(), Attributes::of_profile(keys)));
        let mut profiles: BTreeMap<_, _> = profiles.collect();
        if sections.get(DEFAULT).is_some_and(BTreeMap::is_empty) {
            profiles.remove(DEFAULT);
        }
        Ok(Self { profiles, default: default.filter(|name| !name.is_empty()) })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Attributes> {
        self.profiles.get(name)
    }

    /// What the settings name as the default.
    pub(super) fn default(&self) -> Option<&str> {
        self.default.as_deref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Attributes)> {
        self.profiles.iter().map(|(name, attributes)| (name.as_str(), attributes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn read(text: &str) -> Profiles {
        Profiles::parse(text, "f").unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn values_are_taken_as_they_stand() {
        let text = "\u{feff}# first\r\n[DEFAULT]\n; no\nHOST = https://a.b/ \ntoken: a\\b\"c\" # d\nunknown = x\n[empty]\n";
        let profiles = read(text);
        let default = profiles.get(DEFAULT).unwrap();
        assert_eq!(default.get("host"), Some("https://a.b/"));
        assert_eq!(default.get("token"), Some("a\\b\"c\" # d"));
        assert!(profiles.get("empty").unwrap().get("token").is_none());
    }

    #[test]
    fn settings_are_no_profile_and_an_empty_default_is_none() {
        let profiles = read("[__settings__]\ndefault_profile = x\n[DEFAULT]\n[x]\ntoken = t\n");
        assert_eq!(profiles.default(), Some("x"));
        assert_eq!(profiles.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["x"]);
    }

    #[rstest]
    #[case("token = s3cret\n", "before the first section")]
    #[case("[a]\ntoken s3cret\n", "a")]
    #[case("[a]\ns3cret\ntoken = s3cret\n", "[a] has a line")]
    #[case("[a]\ntoken = s3cret\nTOKEN = s3cret\n", "[a] has `token` twice")]
    #[case("[a]\ntoken = s3cret\n[b]\n[a]\nx = y\n", "[a] is there twice")]
    #[case("[a\ntoken = s3cret\n", "line")]
    fn mistakes_are_named_without_the_text(#[case] text: &str, #[case] named: &str) {
        let error = Profiles::parse(text, "the-file").err().unwrap().to_string();
        assert!(error.contains("the-file") && error.contains(named), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}
