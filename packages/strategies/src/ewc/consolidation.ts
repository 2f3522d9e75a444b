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
} from '@tensorflow/tfjs-core';
import { customGradient, savedAt } from '@whetstone/core/ops';

/** The importance of each parameter for the old tasks and its anchor θ*, by parameter name. */
export interface Consolidation {
  readonly fisher: ReadonlyMap<string, Tensor>;
  readonly anchor: ReadonlyMap<string, Tensor>;
}

/** Computes Σ F (θ − θ*)², differentiable with respect to θ. The backward pass needs only the inputs. */
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
 * Computes λ/2 · Σ F (θ − θ*)² over the given parameters for which a consolidation exists (Kirkpatrick et al. 2017).
 * Differentiable with respect to the parameters, which may be computed from others. `halfLambda` is λ/2.
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

/** Computes γ·F_old + F_new (online EWC, Schwarz et al. 2018). The caller owns the arguments and the result. */
export function addFisher(
  old: ReadonlyMap<string, Tensor>,
  added: ReadonlyMap<string, Tensor>,
  decay: number,
): Map<string, Tensor> {
  return new Map(
    [...added].map(([name, tensor]) => {
      const before = old.get(name);
      return [
        name,
        keep(tidy(() => (before === undefined ? clone(tensor) : addN([mul(before, decay), tensor])))),
      ] as const;
    }),
  );
}
