//! One file per command: its arguments and what it does with them.

pub(crate) mod check;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod status;
