import { WhetstoneError } from '@whetstone/core/contract';
import type { BalanceOptions } from '@whetstone/core/contract';
import { createRandom, shuffle } from '@whetstone/core/random';

/** Samples by group: `groupOf[sample]` is an index into `names`. */
export interface Groups {
  readonly names: readonly string[];
  readonly groupOf: ArrayLike<number>;
}

/** How often a group is in the data, and how often in an epoch. */
export interface GroupShare {
  readonly name: string;
  readonly samples: number;
  readonly drawn: number;
}

function sharesOf(
  names: readonly string[],
  counts: readonly number[],
  { weights = {}, temperature = 1 }: BalanceOptions,
): number[] {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const unknown = Object.keys(weights).filter((name) => !names.includes(name));
  if (unknown.length > 0) {
    throw new WhetstoneError(
      'CONFIG_CONFLICT',
      `The balance gives a weight to ${unknown.map((name) => `"${name}"`).join(', ')}, which the data does not hold.`,
      {
        place: { path: 'data.balance.weights' },
        expected: names.slice(0, 20).join(', '),
      },
    );
  }
  // Sizes flattened by the temperature: 1 keeps them, a high one makes them equal.
  const natural = counts.map((count) => (count / total) ** (1 / temperature));
  const given = names.map((name) => weights[name]);
  const stated = given.reduce<number>((sum, weight) => sum + (weight ?? 0), 0);
  const restNatural = natural.reduce((sum, share, index) => sum + (given[index] === undefined ? share : 0), 0);
  if (restNatural > 0 && stated >= 1) {
    throw new WhetstoneError(
      'CONFIG_CONFLICT',
      'The weights of the balance leave nothing for the groups that have none.',
      {
        place: { path: 'data.balance.weights' },
        expected: 'weights below 1 in all, or one for every group',
        found: `${stated} in all`,
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
 * The samples of an epoch, group by group as often as its share asks for: whole copies of a group and a random part of
 * it, at most `maxRepeats` copies. The epoch has as many samples as the data, unless the cap leaves a group short.
 * Order: by sample.
 *
 * @throws CONFIG_CONFLICT where weights name groups that are not there, or leave nothing for others
 */
export function balanceSamples(
  { names, groupOf }: Groups,
  options: BalanceOptions,
  seed: number,
): { readonly samples: Int32Array; readonly shares: readonly GroupShare[] } {
  const members: number[][] = names.map(() => []);
  for (let sample = 0; sample < groupOf.length; sample++) members[groupOf[sample] ?? 0]?.push(sample);
  const counts = members.map(({ length }) => length);
  const shares = sharesOf(names, counts, options);
  const { maxRepeats = 3 } = options;
  const drawn = members.map((group, index) => {
    const target = Math.min(Math.round((shares[index] ?? 0) * groupOf.length), Math.floor(maxRepeats * group.length));
    const whole = group.length === 0 ? 0 : Math.floor(target / group.length);
    const random = createRandom(seed, 'balance', names[index] ?? '');
    const part = shuffle([...group], random).slice(0, target - whole * group.length);
    return [...Array.from({ length: whole }, () => group).flat(), ...part];
  });
  return {
    samples: Int32Array.from(drawn.flat()).sort(),
    shares: names.map((name, index) => ({ name, samples: counts[index] ?? 0, drawn: drawn[index]?.length ?? 0 })),
  };
}
