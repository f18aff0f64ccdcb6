//! The configuration. Laws: a refusal names at least one problem; what is printed as the effective
//! configuration is accepted, and means the same.
#![no_main]

use config::{Overrides, load_text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let nothing = |_: &str| None;
    let load = |text: &str| load_text(text, None, &Overrides::default(), &nothing);
    match load(text) {
        Ok(loaded) => {
            let printed = loaded.to_toml();
            let again = load(&printed).unwrap_or_else(|problems| panic!("{problems}\n{printed}"));
            assert_eq!(again.hash(), loaded.hash(), "{printed}");
            assert_eq!(
                format!("{:?}", again.settings),
                format!("{:?}", loaded.settings)
            );
        }
        Err(problems) => {
            assert!(problems.iter().next().is_some());
            assert!(!problems.to_string().is_empty());
        }
    }
});
