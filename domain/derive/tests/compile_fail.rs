//! Rule E6, and other misuse: what does not compile, and what the compiler says.

#[test]
fn e6_r5_misuse_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
