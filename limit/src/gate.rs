//! A gate: all the rules of a route. Look at all, then account all.
//!
//! Guarantees: a reject by one rule spends nothing in any other; the wait is the longest any rule
//! asks for; `burst + 1` of a rule is never exceeded, however many threads decide at once
//! (`tests/threads.rs`); no lock is held between two rules.

use std::sync::Arc;

use super::{
    key::Subject,
    line::Holder,
    millis::Millis,
    parked::Parked,
    rule::{Charge, Mode, Rule},
    verdict::{Decision, MAX_RULES, Reason, Verdict},
    zone::{Intent, Standing},
};

/// The rules of a route, in the order of the configuration.
#[derive(Debug, Default)]
pub struct Gate {
    rules: Vec<Rule>,
}

/// What a gate decides about one request.
#[derive(Debug)]
#[must_use = "a delayed request must be held until its release, or leave"]
pub struct Judgement {
    /// What is to happen to the request.
    pub verdict: Verdict,
    /// The first dry-run rule that would have delayed or rejected it.
    pub dry_run: Option<Verdict>,
    /// The fingerprint the deciding rule counts the request under; 0 when none does.
    pub key: u64,
    /// The places of a delayed request.
    pub parked: Option<Parked>,
}

/// What was charged so far, by rule.
#[derive(Default)]
struct Charges {
    holder: Option<Arc<Holder>>,
    by_rule: [Option<Charge>; MAX_RULES],
}

impl Gate {
    /// A gate of these rules.
    ///
    /// # Errors
    /// The number of rules, when it is more than [`MAX_RULES`].
    pub fn new(rules: Vec<Rule>) -> Result<Self, usize> {
        if rules.len() > MAX_RULES { Err(rules.len()) } else { Ok(Self { rules }) }
    }

    /// Its rules.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Decides about one request and accounts for it.
    pub fn decide(&self, subject: &Subject<'_>, now: Millis) -> Judgement {
        let standings = self.standings(subject);
        if self.rules.len() > 1 {
            let looked = self.run(&standings, now, None);
            if looked.verdict.decision == Decision::Reject {
                return looked;
            }
        }
        let mut charges = Charges::default();
        let mut charged = self.run(&standings, now, Some(&mut charges));
        match charged.verdict.decision {
            Decision::Delay => charged.parked = self.park(charges, now, &charged.verdict),
            // Another thread took the last place of a rule since the look: what the rules before it
            // took goes back. An ordinary reject was charged nothing, and allocates and shares
            // nothing either.
            Decision::Reject if charges.by_rule.iter().any(Option::is_some) => {
                if let Some(loser) = self.park(charges, now, &charged.verdict) {
                    loser.leave(now);
                }
            }
            Decision::Reject | Decision::Pass | Decision::Exempt => {}
        }
        charged
    }

    /// Decides as [`Gate::decide`] would, and leaves no trace.
    pub fn look(&self, subject: &Subject<'_>, now: Millis) -> Judgement {
        self.run(&self.standings(subject), now, None)
    }

    /// What was charged to a request, as something that can leave.
    fn park(&self, charges: Charges, now: Millis, verdict: &Verdict) -> Option<Parked> {
        let zone = self.rules.get(verdict.rule?)?.zone();
        let holder = charges.holder.unwrap_or_else(Holder::new);
        let mut parked = Parked::new(holder, now.plus(verdict.wait), Arc::clone(zone));
        for (index, (rule, charge)) in self.rules.iter().zip(charges.by_rule).enumerate() {
            if let Some(charge) = charge {
                parked.add(rule.zone(), index, charge, now.plus(charge.wait));
            }
        }
        Some(parked)
    }

    fn standings(&self, subject: &Subject<'_>) -> [Standing; MAX_RULES] {
        let mut standings = [Standing::Exempt; MAX_RULES];
        for (standing, rule) in standings.iter_mut().zip(&self.rules) {
            *standing = rule.zone().standing(subject);
        }
        standings
    }

    /// Asks every rule in order and stops at the first enforced reject. Without `charges` nothing
    /// is stored.
    fn run(
        &self,
        standings: &[Standing; MAX_RULES],
        now: Millis,
        mut charges: Option<&mut Charges>,
    ) -> Judgement {
        let mut judgement = Judgement::EMPTY;
        for (index, (rule, standing)) in self.rules.iter().zip(standings).enumerate() {
            let mut verdict = match (*standing, charges.as_deref_mut()) {
                (Standing::Counted(fingerprint), Some(charges)) => {
                    let (verdict, charge) =
                        rule.charge(fingerprint, now, index, &mut charges.holder);
                    charges.by_rule[index] = charge;
                    verdict
                }
                (standing, _) => look(rule, standing, now),
            };
            verdict.rule = Some(index);
            if judgement.add(verdict, rule.settings().mode)
                && let Standing::Counted(fingerprint) = *standing
            {
                judgement.key = fingerprint;
            }
            if judgement.verdict.decision == Decision::Reject {
                judgement.verdict.retry =
                    judgement.verdict.retry.max(self.retry_after(index, standings, now));
                break;
            }
        }
        judgement
    }

    /// When every rule behind `first` would agree: a client that comes back when it is told to is
    /// not refused by the next rule.
    fn retry_after(&self, first: usize, standings: &[Standing; MAX_RULES], now: Millis) -> Millis {
        let behind = self.rules.iter().zip(standings).skip(first + 1);
        let enforced = behind.filter(|(rule, _)| rule.settings().mode == Mode::Enforce);
        enforced.map(|(rule, standing)| look(rule, *standing, now).retry).max().unwrap_or_default()
    }
}

/// Verdict of one rule on a request that stands so towards its zone; nothing is stored.
fn look(rule: &Rule, standing: Standing, now: Millis) -> Verdict {
    match standing {
        Standing::Exempt => Verdict::EXEMPT,
        Standing::Missing => Verdict::EXEMPT.rejected(Reason::MissingKey, Millis::ZERO),
        Standing::Repeated => Verdict::EXEMPT.rejected(Reason::RepeatedKey, Millis::ZERO),
        Standing::Counted(fingerprint) => rule.decide(fingerprint, now, Intent::Look),
    }
}

impl Judgement {
    const EMPTY: Self = Self { verdict: Verdict::EXEMPT, dry_run: None, key: 0, parked: None };

    /// Takes one rule's verdict in: a reject ends it, the longest wait leads, any rule that counted
    /// leads over none. Says whether this rule leads now.
    fn add(&mut self, verdict: Verdict, mode: Mode) -> bool {
        let noteworthy = matches!(verdict.decision, Decision::Delay | Decision::Reject);
        if mode == Mode::DryRun {
            if noteworthy && self.dry_run.is_none() {
                self.dry_run = Some(verdict);
            }
            return false;
        }
        let leads = match verdict.decision {
            Decision::Reject => true,
            Decision::Exempt => self.verdict.rule.is_none(),
            Decision::Pass | Decision::Delay => {
                self.verdict.decision == Decision::Exempt || verdict.wait > self.verdict.wait
            }
        };
        if leads {
            self.verdict = verdict;
        }
        leads
    }
}
