//! `headroom actions`: what the code says about its actions, and the record about what they came to.

mod report;

use super::{Common, remote};
use crate::optimize::action::{self, Action};
use anyhow::{Result, anyhow};
use std::io::{self, Write};

/// What to show.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Actions {
    /// One line for each action
    List,
    /// All about one action: what it does, costs and needs, how it is verified and undone
    Explain {
        /// The action's name
        name: String,
    },
    /// What each action gained and cost here, target by target, from the running optimizer's record
    Report {
        /// Print the API's answer as it is
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        api: remote::Args,
    },
}

impl Actions {
    /// Prints it.
    pub(super) fn run(self, common: &Common) -> Result<u8> {
        let text = match self {
            Self::List => {
                let width = action::REGISTRY.iter().map(|a| a.name().len()).max().unwrap_or_default();
                let line = |a: &&dyn Action| format!("{:width$}  {}\n", a.name(), a.explain().what);
                action::REGISTRY.iter().map(line).collect()
            }
            Self::Explain { name } => explain(&name)?,
            Self::Report { json, api } => report::text(common, &api, json)?,
        };
        io::stdout().write_all(text.as_bytes())?;
        Ok(0)
    }
}

fn explain(name: &str) -> Result<String> {
    let action = action::find(name).ok_or_else(|| {
        let known: Vec<&str> = action::REGISTRY.iter().map(|a| a.name()).collect();
        anyhow!("{name:?} is no action; there are {}", known.join(", "))
    })?;
    let said = action.explain();
    let capabilities =
        if said.capabilities.is_empty() { "none".to_owned() } else { said.capabilities.join(", ") };
    let time = humantime::format_duration(action.time_max()).to_string();
    let lines = [
        ("what", said.what),
        ("cost", said.cost),
        ("capabilities", &capabilities),
        ("needs", said.needs),
        ("verified", said.verified),
        ("undone", said.undone),
        ("time, at most", &time),
    ];
    let lines: Vec<String> = lines.iter().map(|(title, text)| format!("  {title:14} {text}")).collect();
    Ok(format!("{name}\n{}\n", lines.join("\n")))
}
