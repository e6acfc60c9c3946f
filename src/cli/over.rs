//! Flags of commands that call a server: whom to trust over TLS, and as whom to come.

use crate::client::trust::{Files, Trust};
use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use std::path::{Path, PathBuf};

/// Flags of `headroom reclaim` and `headroom check ready`.
#[derive(Clone, Debug, Default, clap::Args)]
#[expect(clippy::struct_field_names, reason = "the names are those of the flags")]
pub(super) struct Over {
    /// Over https: the authorities to trust, in PEM form [default: the system's]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Over https: a certificate to show
    #[arg(long, value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
}

/// Another of the same, for a server that asks for users.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct User {
    /// A file with USER:PASSWORD, for a server whose web configuration has users
    #[arg(long, value_name = "FILE")]
    user_file: Option<PathBuf>,
}

impl Over {
    /// Whom to trust, where that is asked.
    pub(super) fn trust(&self, url: &str) -> Result<Option<Trust>> {
        if !url.starts_with("https://") {
            return Ok(None);
        }
        let Self { ca_file, cert_file, key_file } = self.clone();
        Ok(Some(Trust::new(&Files { ca_file, cert_file, key_file })?))
    }
}

impl Over {
    /// Whether a certificate is shown.
    pub(super) fn shows_certificate(&self) -> bool {
        self.cert_file.is_some()
    }
}

impl User {
    /// The header of basic authentication.
    pub(super) fn header(&self) -> Result<Option<HeaderValue>> {
        self.user_file.as_deref().map(basic).transpose()
    }
}

fn basic(file: &Path) -> Result<HeaderValue> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let pair = text.trim_end_matches(['\r', '\n']);
    if !pair.contains(':') {
        bail!("{}: not of the form USER:PASSWORD", file.display());
    }
    let mut header = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))?;
    header.set_sensitive(true);
    Ok(header)
}
