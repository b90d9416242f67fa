//! Runs one search and prints what it visited: `model BOUNDS [BUG]`.

use model::{bounds::Bounds, lab::Lab};
use stateright::{Checker, HasDiscoveries, Model};

fn main() {
    let (name, bug) = (std::env::args().nth(1).unwrap_or_default(), std::env::args().nth(2));
    let Some((_, bounds)) = Bounds::all().into_iter().find(|(known, _)| *known == name) else {
        let names: Vec<&str> = Bounds::all().iter().map(|(name, _)| *name).collect();
        return println!("usage: model BOUNDS [BUG]; bounds are {}", names.join(", "));
    };
    let bug = match bug {
        None => None,
        Some(name) => match ledger::planted::BUGS.iter().find(|(_, known, _)| *known == name) {
            Some(found) => Some(found),
            None => return println!("no bug is named {name}; see ledger/src/planted.rs"),
        },
    };
    let search = Lab::new(bounds, bug.map(|(bug, ..)| *bug)).checker().finish_when(HasDiscoveries::AnyFailures);
    let checker = search.spawn_bfs().join();
    let (locals, steps) = checker.model().counts();
    println!(
        "{} states, {} deep; {locals} of single nodes, {steps} steps",
        checker.unique_state_count(),
        checker.max_depth()
    );
    for (property, path) in checker.discoveries() {
        println!("{property}");
        for (_, action) in path.into_vec() {
            println!("    {}", action.map_or_else(String::new, |action| checker.model().format_action(&action)));
        }
    }
}
