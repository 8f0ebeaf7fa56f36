//! The worked tables over real sockets, and the same timelines fired at a real nginx: same
//! verdicts, same order, nothing early.

use weir_test::{http1, nginx, process, upstream};

mod burst;
mod counts;
mod machine;
mod pipelined;
mod side_by_side;
mod simultaneous;
mod tables;
