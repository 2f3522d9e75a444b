import {
  addN,
  clone,
  keep,
  mul,
  scalar,
  square,
  sub,
  sum,
  tidy,
  type Scalar,
  type Tensor,
  type Variable,
} from '@tensorflow/tfjs-core';
import { customGradient, savedAt } from '@whetstone/core/ops';

/** What an old task asks of the parameters: where they were, and how much each matters. By parameter name. */
export interface Consolidation {
  readonly fisher: ReadonlyMap<string, Tensor>;
  readonly anchor: ReadonlyMap<string, Tensor>;
}

/** Copies of the parameters' present values. The caller owns them. */
export function anchorOf(parameters: ReadonlyMap<string, Variable>): Map<string, Tensor> {
  return new Map([...parameters].map(([name, parameter]) => [name, keep(clone(parameter))]));
}

/** Σ F (θ − θ*)². Differentiable with respect to θ; nothing but its inputs is kept for that. */
function weightedDistance(value: Tensor, importance: Tensor, origin: Tensor): Scalar {
  return customGradient<Scalar>(
    [value],
    () => ({ value: sum(mul(importance, square(sub(value, origin)))), saved: [value, importance, origin] }),
    (gradient, saved) => {
      const [at, weights, start] = [savedAt(saved, 0), savedAt(saved, 1), savedAt(saved, 2)];
      return [mul(mul(weights, sub(at, start)), mul(gradient, 2))];
    },
  );
}

/**
 * λ/2 · Σ F (θ − θ*)² over the parameters that are present and consolidated (Kirkpatrick et al. 2017). Differentiable
 * with respect to the parameters, which may be made of others. `halfLambda` is λ/2 as a tensor made once.
 */
export function consolidationPenalty(
  parameters: ReadonlyMap<string, Tensor>,
  { fisher, anchor }: Consolidation,
  halfLambda: Scalar,
): Scalar {
  const terms = [...parameters].flatMap(([name, parameter]) => {
    const [importance, origin] = [fisher.get(name), anchor.get(name)];
    return importance === undefined || origin === undefined ? [] : [weightedDistance(parameter, importance, origin)];
  });
  return terms.length === 0 ? scalar(0) : mul(addN(terms), halfLambda);
}

/** Online EWC (Schwarz et al. 2018): γ·F_old + F_new. Both stay the caller's, and so does the result. */
export function addFisher(
  old: ReadonlyMap<string, Tensor>,
  fresh: ReadonlyMap<string, Tensor>,
  decay: number,
): Map<string, Tensor> {
  return new Map(
    [...fresh].map(([name, tensor]) => {
      const before = old.get(name);
      return [
        name,
        keep(tidy(() => (before === undefined ? clone(tensor) : addN([mul(before, decay), tensor])))),
      ] as const;
    }),
  );
}
