//! What a stack tells about itself, for people and programs. Views read records; none reaches into the stack.

pub mod json;
pub mod ladder;

pub use json::{record_to_json, tcp_info_to_json};
pub use ladder::{Ladder, LadderOptions, Side};
