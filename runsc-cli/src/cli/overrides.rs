//! Flags that a container's own annotations set: `dev.gvisor.flag.NAME`. Whoever writes config.json may be somebody else
//! than who has set the runtime up, so without `--allow-flag-override` only what does no harm may be set.

use anyhow::{Context, Result, bail};
use clap::{Args, FromArgMatches};

use super::Global;
use crate::compat_flags;

/// What such annotations begin with.
const PREFIX: &str = "dev.gvisor.flag.";

/// Flags that anybody may set, and to what.
const HARMLESS: &[(&str, fn(&str) -> bool)] = &[
    ("debug", |_| true),
    ("strace", |_| true),
    ("oci-seccomp", |value| value == "true"),
    ("host-uds", |value| value == "none"),
    ("host-fifo", |value| value == "none"),
    ("host-view", |value| value == "off"),
    // Writes stay away from what others see.
    ("overlay2", |value| {
        let medium = value.strip_prefix("root:").or_else(|| value.strip_prefix("all:"));
        let medium = medium.map(|medium| medium.split(',').next().unwrap_or_default());
        matches!(medium, Some("memory" | "self"))
    }),
];

impl Global {
    /// Returns the flags with those that annotations set.
    pub(crate) fn overridden<'a>(&self, annotations: impl Iterator<Item = (&'a String, &'a String)>) -> Result<Global> {
        let mut global = self.clone();
        for (key, value) in annotations {
            let Some(name) = key.strip_prefix(PREFIX) else { continue };
            if compat_flags::ignored(name).is_some() {
                compat_flags::check(name, value).map_err(anyhow::Error::msg).with_context(|| format!("{key:?}"))?;
                global.ignored.push(name.to_owned());
                continue;
            }
            let harmless = HARMLESS.iter().any(|(known, allows)| *known == name && allows(value));
            if !harmless && !self.allow_flag_override {
                bail!("config.json: annotations: {key:?} may not be {value:?} unless --allow-flag-override is given");
            }
            global.set(name, value).with_context(|| format!("config.json: annotations: {key:?} is {value:?}"))?;
        }
        Ok(global)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let parser = Global::augment_args(clap::Command::new("flags").no_binary_name(true).disable_help_flag(true));
        // What isn't given stays as it is.
        let parser = parser.mut_args(|arg| arg.default_value(None::<&'static str>));
        let matches = parser.try_get_matches_from([format!("--{name}={value}")]);
        let matches = matches.map_err(|error| {
            let text = error.to_string();
            anyhow::anyhow!("{}", text.lines().next().unwrap_or_default().trim_start_matches("error: "))
        })?;
        self.update_from_arg_matches(&matches).context("setting it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse;

    fn with(line: &str, name: &str, value: &str) -> Result<Global> {
        let cli = parse(line.split(' ').map(Into::into)).expect("parses");
        cli.global.overridden([(&format!("{PREFIX}{name}"), &value.to_owned())].into_iter())
    }

    #[test]
    fn harmless_flags_may_be_set_and_the_others_stay() {
        let global = with("runsc --platform=ptrace --overlay2=none state x", "debug", "true").expect("harmless");
        assert!(global.debug);
        assert_eq!((global.platform.name(), global.overlay2.as_str()), ("ptrace", "none"));
        assert!(with("runsc state x", "overlay2", "root:self,size=1g").is_ok());
        assert!(with("runsc state x", "vfs2", "true").is_ok());
    }

    #[test]
    fn others_need_leave() {
        let strict = [
            ("network", "host"),
            ("overlay2", "none"),
            ("debug-log", "/x"),
            ("oci-seccomp", "false"),
            ("host-uds", "open"),
            ("host-fifo", "open"),
            ("fsgofer-host-uds", "true"),
        ];
        for (name, value) in strict {
            assert!(with("runsc state x", name, value).is_err(), "{name}");
            assert!(with("runsc --allow-flag-override state x", name, value).is_ok(), "{name}");
        }
        assert!(with("runsc --allow-flag-override state x", "nosuch", "1").is_err());
        let global = with("runsc --allow-flag-override state x", "host-uds", "open").expect("allowed");
        assert!(global.host_access().connect && !global.host_access().bind);
        assert!(with("runsc --host-uds=all state x", "host-uds", "none").is_ok());
    }
}
