//! Where the optimizer's state is kept, and the tokens in it.

use crate::config::Config;
use crate::optimize::api::access::Tokens;
use crate::serve::token::Token;
use anyhow::{Context, Result};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where state is kept: as configured; as systemd says; or where such things are by custom.
pub(in crate::cli) fn state_dir(config: &Config) -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    if let Some(dir) = config.state_dir.clone().or_else(|| variable("STATE_DIRECTORY")) {
        return dir;
    }
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/headroom");
    }
    let home = || variable("HOME").map(|h| h.join(".local/state"));
    variable("XDG_STATE_HOME").or_else(home).unwrap_or_else(std::env::temp_dir).join("headroom")
}

/// Makes it, with its parents, for its owner alone.
pub(in crate::cli) fn make_state_dir(state: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state)
}

/// Where the token file is, or would be made.
pub(in crate::cli) fn token_path(config: &Config) -> PathBuf {
    config.optimizer.token_file.clone().unwrap_or_else(|| state_dir(config).join("webhook-token"))
}

/// The token file: as configured, or one in the state directory, which is made if it is missing.
pub(super) fn token_file(config: &Config) -> Result<PathBuf> {
    let path = token_path(config);
    if config.optimizer.token_file.is_none() && !path.exists() {
        make_token(&path).with_context(|| {
            format!("cannot make the token file {}; give one with optimizer.token_file", path.display())
        })?;
        tracing::info!(path = %path.display(), "made a token for webhook and record; Alertmanager wants the same file");
    }
    Ok(path)
}

/// The tokens of the optimizer's pages.
pub(super) fn tokens(config: &Config) -> Result<Tokens> {
    let write = Token::from_file(&token_file(config)?)?;
    let read = config.optimizer.read_token_file.as_deref().map(Token::from_file).transpose()?;
    let (writers, readers) = (config.optimizer.write.clone(), config.optimizer.read.clone());
    Ok(Tokens { write, read, writers, readers })
}

/// Makes a file that its owner alone can read, with a token that nobody can guess.
pub(in crate::cli) fn make_token(path: &Path) -> Result<()> {
    use std::io::Write;
    let mut bytes = [0_u8; 32];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    for byte in bytes {
        write!(file, "{byte:02x}")?;
    }
    writeln!(file)?;
    Ok(())
}
