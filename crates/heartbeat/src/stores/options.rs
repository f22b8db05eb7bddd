//! `storage_options` as a client reads them: secrets resolved, and beside them what the environment says.

use std::collections::BTreeMap;
use std::sync::Arc;

use heartbeat_core::acon::StorageOptions;

use super::error::Fault;
use crate::secrets::Secrets;

/// Options as they are set, secrets resolved. Names are those of the options.
pub(crate) struct Set {
    values: BTreeMap<&'static str, String>,
    environment: BTreeMap<String, String>,
}

impl Set {
    /// Resolves the secrets among the options.
    pub(crate) async fn read(options: &StorageOptions, secrets: &Arc<Secrets>) -> Result<Self, Fault> {
        let mut values = BTreeMap::new();
        for (name, reference) in options.iter() {
            let secret = secrets.resolve(reference).await;
            let secret = secret.map_err(|cause| Fault::BadOption { name, cause: Box::new(cause) })?;
            // Read as absent, it would be somebody else's login: that of the environment or the machine.
            if secret.expose().trim().is_empty() {
                return Err(Fault::Misconfigured(format!("`storage_options.{name}` is empty")));
            }
            values.insert(name, secret.expose().to_owned());
        }
        Ok(Self { values, environment: crate::secrets::environment() })
    }

    /// An option, whatever the environment says.
    pub(crate) fn own(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// The first of the variables that is set, whatever the options say.
    pub(crate) fn variable(&self, names: &[&str]) -> Option<&str> {
        let set =
            |name: &&str| self.environment.get(*name).map(String::as_str).filter(|text| !text.is_empty());
        names.iter().find_map(set)
    }

    /// An option, else the first of the variables that is set.
    pub(crate) fn value(&self, name: &str, variables: &[&str]) -> Option<String> {
        self.own(name).or_else(|| self.variable(variables)).map(str::to_owned)
    }

    /// An option that is true or false.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Fault> {
        let value = self.value(name, &[&name.to_ascii_uppercase()]);
        match value.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Fault::Misconfigured(format!("`{name}` must be true or false"))),
        }
    }

    /// The options that are set, as the variables that mean the same.
    pub(crate) fn as_variables(&self, named: &[(&str, &str)]) -> BTreeMap<String, String> {
        let set =
            |(variable, option): &(&str, &str)| Some(((*variable).to_owned(), self.own(option)?.to_owned()));
        named.iter().filter_map(set).collect()
    }
}

#[cfg(test)]
impl Set {
    /// These options, and this environment.
    pub(super) fn of(options: &[(&'static str, &str)], environment: &[(&str, &str)]) -> Self {
        let values = options.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { values, environment }
    }
}
