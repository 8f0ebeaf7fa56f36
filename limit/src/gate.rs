//! Gate: all rules of a route. A decision first looks at every rule, then charges every rule.
//!
//! Guarantees: a reject by one rule charges no other rule. The wait is the longest that any rule
//! requires. `burst + 1` of a rule is never exceeded, however many threads decide at the same time
//! (`limit/tests/engine/threads.rs`). No lock is held between two rules.

use std::sync::Arc;

use super::{
    key::Subject,
    line::Holder,
    millis::Millis,
    parked::Parked,
    reservation::Reservations,
    rule::{Charge, Mode, Rule},
    verdict::{Decision, MAX_RULES, Reason, Verdict},
    zone::{Intent, Standing},
};

/// Rules of a route, in the order of the configuration.
#[derive(Debug, Default)]
pub struct Gate {
    rules: Vec<Rule>,
    /// True if a rule has a penalty.
    penalizes: bool,
}

/// Decision of a gate about one request.
#[derive(Debug)]
#[must_use = "a delayed request must be held until its release, or leave"]
pub struct Judgement {
    /// Action for the request, with the numbers behind it.
    pub verdict: Verdict,
    /// Verdict of the first dry-run rule that would have delayed or rejected the request.
    pub dry_run: Option<Verdict>,
    /// Fingerprint under which the deciding rule counts the request; 0 if no rule counts it.
    pub key: u64,
    /// Places of a delayed request.
    pub parked: Option<Parked>,
    /// Places that are charged, or not, by the status of the response: to be
    /// [settled](Reservations::settle) with it. None if no rule counts responses.
    pub reservations: Option<Box<Reservations>>,
}

/// Charges so far, by rule.
struct Charges<const N: usize> {
    holder: Option<Arc<Holder>>,
    by_rule: [Option<Charge>; N],
}

impl Gate {
    /// Builds a gate of these rules.
    ///
    /// # Errors
    /// The number of rules, when it is more than [`MAX_RULES`].
    pub fn new(rules: Vec<Rule>) -> Result<Self, usize> {
        if rules.len() > MAX_RULES {
            return Err(rules.len());
        }
        let penalizes = rules.iter().any(|rule| rule.penalty().is_some());
        Ok(Self { rules, penalizes })
    }

    /// Returns the rules.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Decides about one request and charges it.
    pub fn decide(&self, subject: &Subject<'_>, now: Millis) -> Judgement {
        // Most routes have one or two rules. Arrays for `MAX_RULES` would cost them more to fill
        // and to copy than the arithmetic does.
        let judgement = match self.rules.len() {
            0 => Judgement::exempt(),
            1 => self.decide_by::<1>(subject, now),
            2 => self.decide_by::<2>(subject, now),
            _ => self.decide_by::<MAX_RULES>(subject, now),
        };
        if self.penalizes && judgement.verdict.decision == Decision::Reject {
            self.count_reject(&judgement, now);
        }
        judgement
    }

    /// Counts a reject of the bucket for the penalty of its rule, if the rule has one.
    fn count_reject(&self, judgement: &Judgement, now: Millis) {
        let Verdict { rule, reason, .. } = judgement.verdict;
        // A request that is shut out does not prolong its penalty.
        let is_of_bucket = matches!(reason, Some(Reason::Burst | Reason::MaxWait));
        if let Some(rule) = rule.and_then(|index| self.rules.get(index)).filter(|_| is_of_bucket) {
            rule.count_reject(judgement.key, now);
        }
    }

    /// Decides by at most `N` rules.
    fn decide_by<const N: usize>(&self, subject: &Subject<'_>, now: Millis) -> Judgement {
        // The key is hashed once for both passes over the rules.
        let standings = self.standings::<N>(subject);
        let mut judgement = Judgement::exempt();
        // A single rule needs no look before its charge, because a rejected charge stores nothing.
        if N > 1 {
            self.run(&mut judgement, &standings, now, None);
            if judgement.verdict.decision == Decision::Reject {
                return judgement;
            }
            judgement = Judgement::exempt();
        }
        let mut charges = Charges { holder: None, by_rule: [const { None }; N] };
        self.run(&mut judgement, &standings, now, Some(&mut charges));
        match judgement.verdict.decision {
            Decision::Delay => judgement.parked = self.park(charges, now, &judgement.verdict),
            // Another thread took the last place of a rule after this request looked at it, so the
            // charges to the rules before are given back. An ordinary reject has charged nothing:
            // it allocates nothing and touches no shared memory.
            Decision::Reject if charges.by_rule.iter().any(Option::is_some) => {
                if let Some(loser) = self.park(charges, now, &judgement.verdict) {
                    loser.leave(now);
                }
            }
            Decision::Reject | Decision::Pass | Decision::Exempt => {}
        }
        judgement
    }

    /// Decides as [`Gate::decide`] would, without charging anything.
    pub fn look(&self, subject: &Subject<'_>, now: Millis) -> Judgement {
        let mut judgement = Judgement::exempt();
        self.run::<MAX_RULES>(&mut judgement, &self.standings(subject), now, None);
        judgement
    }

    /// Turns the charges of a delayed request into places it can give back.
    fn park<const N: usize>(
        &self,
        charges: Charges<N>,
        now: Millis,
        verdict: &Verdict,
    ) -> Option<Parked> {
        let zone = self.rules.get(verdict.rule?)?.zone();
        // A request that lost a race may have no holder: it never stood in a line.
        let holder = charges.holder.unwrap_or_else(Holder::new);
        let mut parked = Parked::new(holder, now.plus(verdict.wait), Arc::clone(zone));
        for (index, (rule, charge)) in self.rules.iter().zip(charges.by_rule).enumerate() {
            if let Some(charge) = charge {
                parked.add(rule.zone(), index, charge, now.plus(charge.wait));
            }
        }
        Some(parked)
    }

    fn standings<const N: usize>(&self, subject: &Subject<'_>) -> [Standing; N] {
        let mut standings = [Standing::Exempt; N];
        for (standing, rule) in standings.iter_mut().zip(&self.rules) {
            *standing = rule.standing(subject);
        }
        standings
    }

    /// Looks at every rule in order and stops at the first enforced reject. Without `charges`
    /// nothing is stored.
    fn run<const N: usize>(
        &self,
        judgement: &mut Judgement,
        standings: &[Standing; N],
        now: Millis,
        mut charges: Option<&mut Charges<N>>,
    ) {
        for (index, (rule, standing)) in self.rules.iter().zip(standings).enumerate() {
            if *standing == Standing::Outside {
                continue;
            }
            let mut verdict = match (*standing, charges.as_deref_mut()) {
                (Standing::Counted(fingerprint), Some(charges)) => {
                    let special = match rule.is_plain() {
                        true => None,
                        false => reserved(rule, fingerprint, now, judgement),
                    };
                    special.unwrap_or_else(|| charges.charge(rule, fingerprint, now, index))
                }
                (standing, _) => look(rule, standing, now),
            };
            verdict.rule = Some(index);
            if judgement.add(verdict, rule.settings().mode)
                && let Standing::Counted(fingerprint) = *standing
            {
                judgement.key = fingerprint;
            }
            // An enforced reject ends the run: rules behind it are looked at for `retry`, never
            // charged.
            if judgement.verdict.decision == Decision::Reject {
                // Which frees the reserved places.
                judgement.reservations = None;
                judgement.verdict.retry =
                    judgement.verdict.retry.max(self.retry_after(index, standings, now));
                break;
            }
        }
    }

    /// Returns the time until every rule from `first` on would admit the request. A client that
    /// waits this long is not rejected by the next rule.
    fn retry_after(&self, first: usize, standings: &[Standing], now: Millis) -> Millis {
        let behind = self.rules.iter().zip(standings).skip(first + 1);
        let enforced = behind.filter(|(rule, _)| rule.settings().mode == Mode::Enforce);
        enforced.map(|(rule, standing)| look(rule, *standing, now).retry).max().unwrap_or_default()
    }
}

impl<const N: usize> Charges<N> {
    fn charge(&mut self, rule: &Rule, fingerprint: u64, now: Millis, index: usize) -> Verdict {
        let (verdict, charge) = rule.charge(fingerprint, now, index, &mut self.holder);
        self.by_rule[index] = charge;
        verdict
    }
}

/// Returns the verdict of a rule that does not charge this request: the key is shut out, or the rule
/// counts responses, and places are reserved if the request passes.
#[cold]
fn reserved(
    rule: &Rule,
    fingerprint: u64,
    now: Millis,
    judgement: &mut Judgement,
) -> Option<Verdict> {
    if let Some(left) = rule.shut_out_for(fingerprint, now) {
        return Some(Verdict::EXEMPT.rejected(Reason::Penalty, left));
    }
    let (verdict, reservation) = rule.reserve(rule.statuses()?, fingerprint, now);
    if let Some(reservation) = reservation {
        judgement.reservations.get_or_insert_default().add(reservation);
    }
    Some(verdict)
}

/// Returns the verdict of one rule on a request of this standing. Nothing is stored.
fn look(rule: &Rule, standing: Standing, now: Millis) -> Verdict {
    match standing {
        Standing::Exempt | Standing::Outside => Verdict::EXEMPT,
        Standing::Missing => Verdict::EXEMPT.rejected(Reason::MissingKey, Millis::ZERO),
        Standing::Repeated => Verdict::EXEMPT.rejected(Reason::RepeatedKey, Millis::ZERO),
        Standing::Counted(fingerprint) => rule.decide(fingerprint, now, Intent::Look),
    }
}

impl Judgement {
    /// Judgement before any rule. A function, since a constant would be copied whole.
    fn exempt() -> Self {
        Self { verdict: Verdict::EXEMPT, dry_run: None, key: 0, parked: None, reservations: None }
    }

    /// Merges the verdict of one rule: an enforced reject ends the run, the longest wait leads, and
    /// a rule that counts the request leads over one that does not. Returns true if this rule leads
    /// now.
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
