//! A function that takes something becomes one test for each of a list, with a name of its own.

/// `each!(function: name value, …)`: the tests `function::name`.
macro_rules! each {
    ($test:ident: $($name:ident $value:expr),+ $(,)?) => {
        mod $test {
            $(#[test]
            fn $name() {
                super::$test($value);
            })+
        }
    };
}

pub(crate) use each;
