//! A setting that is a secret comes from `NAME` or from the file `NAME_FILE` names, never from both.

use std::fs;

use secrecy::SecretString;

/// Why a setting cannot be used; names the variable, never a secret's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingError(pub String);

/// The environment, as a function so that it can be any.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The secret `name`, without the one newline editors and `echo` leave at the end of a file.
///
/// # Errors
/// Both variables are set, or the file cannot be read.
pub fn secret(name: &str, environment: Environment<'_>) -> Result<Option<SecretString>, SettingError> {
    let file = format!("{name}_FILE");
    match (environment(name), environment(&file)) {
        (Some(_), Some(_)) => Err(SettingError(format!("`{name}` and `{file}` are both set\nhint: keep one of them"))),
        (Some(value), None) => Ok(Some(value.into())),
        (None, Some(path)) => read(&file, &path).map(Some),
        (None, None) => Ok(None),
    }
}

fn read(variable: &str, path: &str) -> Result<SecretString, SettingError> {
    let text = fs::read_to_string(path)
        .map_err(|error| SettingError(format!("cannot read `{path}` ({error})\nhint: `{variable}` names it")))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).into())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::secret;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<String>, String> {
        let find = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let found = secret("PW", &find).map_err(|error| error.to_string())?;
        Ok(found.map(|value| value.expose_secret().to_owned()))
    }

    #[test]
    fn from_one_place_only() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("PW", "x")]), Ok(Some("x".to_owned())));
        assert!(read(&[("PW", "x"), ("PW_FILE", "/y")]).unwrap_err().contains("both set"));
        assert!(read(&[("PW_FILE", "/does/not/exist")]).unwrap_err().contains("`PW_FILE` names it"));
    }

    #[test]
    fn one_newline_is_not_part_of_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "two\n\n").unwrap();
        assert_eq!(read(&[("PW_FILE", file.path().to_str().unwrap())]), Ok(Some("two\n".to_owned())));
    }
}
