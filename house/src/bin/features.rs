//! Prints a line for each way to build a published library that has features with one of them or none: the package, and
//! the feature.
//! `test.sh --each-feature` checks each.

use annals_house::packages;

fn main() {
    for package in packages().into_iter().filter(|package| package.published) {
        if package.features.is_empty() {
            continue;
        }
        println!("{}", package.name);
        for feature in package.features.iter().filter(|feature| *feature != "default") {
            println!("{} {feature}", package.name);
        }
    }
}
