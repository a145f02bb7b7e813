//! Prints a line for each way to build a published library with one feature or none: the package, and the feature.
//! `test.sh --each-feature` checks each.

use annals_house::packages;

fn main() {
    for package in packages().into_iter().filter(|package| package.published) {
        println!("{}", package.name);
        for feature in package.features.iter().filter(|feature| *feature != "default") {
            println!("{} {feature}", package.name);
        }
    }
}
