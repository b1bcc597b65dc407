//! `runsc spec`: a template config.json.

use anyhow::{Context, Result, bail};
use oci_spec::runtime::Spec;

use crate::cli::SpecArgs;

/// Writes the template; an existing file stays.
pub(crate) fn run(args: &SpecArgs) -> Result<u8> {
    let path = args.bundle.join("config.json");
    if path.exists() {
        bail!("{} exists already", path.display());
    }
    let mut spec = Spec::default();
    let mut process = spec.process().clone().unwrap_or_default();
    let command = if args.command.is_empty() { vec!["sh".to_owned()] } else { args.command.clone() };
    process.set_args(Some(command));
    process.set_cwd(args.cwd.clone().into());
    process.set_terminal(Some(false));
    spec.set_process(Some(process));
    spec.set_hostname(Some("runsc".to_owned()));
    let text = serde_json::to_string_pretty(&spec).context("formatting config.json")?;
    std::fs::write(&path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
    Ok(0)
}
