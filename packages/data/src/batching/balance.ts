import { balanceSchema, defaultsOf, WhetstoneError, type BalanceOptions } from '@whetstone/core/contract';
import { ownValue } from '@whetstone/core/util';
import { createRandom, shuffle } from '@whetstone/core/random';

/** The groups of samples: `groupOf[sample]` is an index into `names`. */
export interface Groups {
  readonly names: readonly string[];
  readonly groupOf: ArrayLike<number>;
}

/** The size of a group in the data and in an epoch. */
export interface GroupShare {
  readonly name: string;
  /** Samples in the data. */
  readonly samples: number;
  /** Samples in an epoch. */
  readonly drawn: number;
}

function sharesOf(
  names: readonly string[],
  counts: readonly number[],
  { weights, temperature }: Required<BalanceOptions>,
): number[] {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const unknown = Object.keys(weights).filter((name) => !names.includes(name));
  if (unknown.length > 0) {
    throw new WhetstoneError(
      'CONFIG_CONFLICT',
      `The balance has weights for groups that are not in the data: ${unknown.map((name) => `"${name}"`).join(', ')}.`,
      {
        place: { path: 'data.balance.weights' },
        expected: names.slice(0, 20).join(', '),
      },
    );
  }
  // Temperature 1 keeps the shares of the data; higher temperatures make them more equal.
  const natural = counts.map((count) => (count / total) ** (1 / temperature));
  const given = names.map((name) => ownValue(weights, name));
  const stated = given.reduce<number>((sum, weight) => sum + (weight ?? 0), 0);
  const restNatural = natural.reduce((sum, share, index) => sum + (given[index] === undefined ? share : 0), 0);
  if (restNatural > 0 && stated >= 1) {
    throw new WhetstoneError(
      'CONFIG_CONFLICT',
      'The weights of the balance leave no share for the groups without a weight.',
      {
        place: { path: 'data.balance.weights' },
        expected: 'a sum of weights below 1, or a weight for every group',
        found: `a sum of ${stated}`,
      },
    );
  }
  return natural.map((share, index) => {
    const weight = given[index];
    if (weight !== undefined) return restNatural > 0 ? weight : weight / stated;
    return (share / restNatural) * (1 - stated);
  });
}

/**
 * Draws the samples of an epoch according to the shares of groups. Each group is repeated completely, plus a random
 * subset, up to `maxRepeats` times. The epoch has as many samples as the data, unless `maxRepeats` limits a group.
 *
 * @returns the drawn samples, sorted, and the size of each group
 * @throws `CONFIG_CONFLICT` if weights name unknown groups, or leave no share for groups without a weight
 */
export function balanceSamples(
  { names, groupOf }: Groups,
  given: BalanceOptions,
  seed: number,
): { readonly samples: Int32Array; readonly shares: readonly GroupShare[] } {
  const options = { ...defaultsOf(balanceSchema), ...given };
  const members: number[][] = names.map(() => []);
  for (let sample = 0; sample < groupOf.length; sample++) members[groupOf[sample] ?? 0]?.push(sample);
  const counts = members.map(({ length }) => length);
  const shares = sharesOf(names, counts, options);
  const drawn = members.map((group, index) => {
    const target = Math.min(
      Math.round((shares[index] ?? 0) * groupOf.length),
      Math.floor(options.maxRepeats * group.length),
    );
    const copies = group.length === 0 ? 0 : Math.floor(target / group.length);
    const random = createRandom(seed, 'balance', names[index] ?? '');
    const rest = shuffle([...group], random).slice(0, target - copies * group.length);
    return [...Array.from({ length: copies }, () => group).flat(), ...rest];
  });
  return {
    samples: Int32Array.from(drawn.flat()).sort(),
    shares: names.map((name, index) => ({ name, samples: counts[index] ?? 0, drawn: drawn[index]?.length ?? 0 })),
  };
}
