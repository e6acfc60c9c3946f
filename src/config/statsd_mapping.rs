//! statsd_exporter's mapping file, with file, line and column of what is wrong in it.

use super::{ConfigError, read_text, text_error};
use crate::apps::statsd::mapping::{Mapping, MappingError};
use std::path::Path;

/// The mapping in the file at `path`.
pub(super) fn mapping(path: &Path) -> Result<Mapping, ConfigError> {
    parse(&read_text(path)?, path)
}

fn parse(text: &str, path: &Path) -> Result<Mapping, ConfigError> {
    Mapping::parse(text).map_err(|e| match e {
        MappingError::Text(e) => text_error(&e, path),
        MappingError::At(place, why) => ConfigError::Text { path: path.to_owned(), place, why },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_has_file_line_and_column() {
        let at = |text: &str| parse(text, Path::new("/m.yml")).unwrap_err().to_string();
        assert_eq!(
            at("mappings:\n- match: a.*\n  nam: b\n"),
            "/m.yml:3:3: unknown key `nam`; did you mean `name`?"
        );
        assert!(
            at("mappings:\n- {match: a}\n- {match: b, name: b}\n")
                .starts_with("/m.yml:2:3: mappings[0] has no")
        );
        assert!(at("defaults: {buckets: [2, 1]}\n").starts_with("/m.yml: defaults: has buckets"));
        assert!(parse("mappings: [{match: a, name: b}]", Path::new("/m.yml")).is_ok());
    }
}
