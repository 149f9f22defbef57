"""From costs to a plan by the method that the user, or the kind of costs, asks for."""

from myqasr.core.errors import UserError
from myqasr.personalize.planning.exact import exact_plan
from myqasr.personalize.planning.heuristics import greedy, min_max, ranked, sweep
from myqasr.personalize.planning.plan import Plan, PlanRules
from myqasr.personalize.planning.problem import Problem


def make_plan(problem: Problem, rules: PlanRules, ranks_only: bool) -> Plan:
    """A plan within the budget.

    ranks_only: the costs only order layers; then the sweep decides.
    Raises UserError when the budget is below the smallest plan, or costs can't be used as the rules want.
    """
    how = rules.allocation or ("sweep" if ranks_only else "exact")
    limited = rules.tied or rules.most_precisions is not None
    if ranks_only and (how != "sweep" or limited):
        raise UserError(
            f"{problem.profile.method} says which layers are sensitive, not what a precision costs: it "
            "only goes with --allocation sweep; or use --sensitivity fisher"
        )
    if how == "greedy":
        return greedy(problem)
    if how == "min-max":
        return min_max(problem)
    if how == "sweep":
        return sweep(problem, ranked(problem.profile), f"sweep by {problem.profile.method}")
    return exact_plan(problem, rules.tied, rules.most_precisions)
