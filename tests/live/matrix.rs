//! The servers that a test runs on, one after the other: a test that takes a version becomes one test for each.

/// One test for the last release of each series.
macro_rules! on_every_version {
    ($test:ident) => {
        $crate::each::each!(
            $test: v3_4_14 "3.4.14", v3_5_10 "3.5.10", v3_6_4 "3.6.4", v3_7_2 "3.7.2", v3_8_4 "3.8.4", v3_9_4 "3.9.4"
        );
    };
}

/// The oldest and the newest, which differ the most.
macro_rules! on_oldest_and_newest {
    ($test:ident) => {
        $crate::each::each!($test: v3_4_14 "3.4.14", v3_9_4 "3.9.4");
    };
}

pub(crate) use {on_every_version, on_oldest_and_newest};
