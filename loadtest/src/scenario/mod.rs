//! The scenarios: what viewers and publishers do, and what is measured while they do it.

pub(crate) mod all;
pub(crate) mod burst;
pub(crate) mod churn;
pub(crate) mod hot;
pub(crate) mod idle;
pub(crate) mod kind;
pub(crate) mod mixed;
pub(crate) mod slow;
pub(crate) mod storm;
pub(crate) mod tls;
pub(crate) mod wide;

mod crowd;
mod fanout;
mod work;
