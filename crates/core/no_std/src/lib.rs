//! Holds that the core and all it depends on do without `std`: see this package's manifest.
#![no_std]
#![forbid(unsafe_code)]

pub use sockeye_core::{Config, Profile};

/// Without `std` the program says what a panic does; with it, this is a duplicate and does not compile.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// Something of the core that takes an allocation, so that the link is more than a name.
pub fn default_config() -> Config {
    Config::new(Profile::Linux)
}
