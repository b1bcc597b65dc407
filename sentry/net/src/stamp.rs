//! Time stamps of received messages (`SO_TIMESTAMP` and its kin).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::opts::Options;
use crate::socket::Control;
use crate::uapi::{so, sol};

/// When a message arrived, on the real-time clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp(Duration);

impl Stamp {
    /// Returns the present time.
    pub(crate) fn now() -> Stamp {
        Stamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// Adds the control message that the options ask for.
    pub(crate) fn control(self, opts: &Options, control: &mut Vec<Control>) {
        let micros = [so::TIMESTAMP, so::TIMESTAMP_NEW].into_iter().find(|name| opts.has(*name));
        let nanos = [so::TIMESTAMPNS, so::TIMESTAMPNS_NEW].into_iter().find(|name| opts.has(*name));
        let (kind, part) = match (nanos, micros) {
            (Some(kind), _) => (kind, self.0.subsec_nanos()),
            (None, Some(kind)) => (kind, self.0.subsec_micros()),
            (None, None) => return,
        };
        let data = [self.0.as_secs().to_ne_bytes(), u64::from(part).to_ne_bytes()].concat();
        control.push(Control::Other { level: sol::SOCKET, kind, data });
    }
}
