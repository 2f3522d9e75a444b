import { balanceSchema, defaultsOf, WhetstoneError, type BalanceOptions } from '@whetstone/core/contract';
import { didYouMean, ownValue } from '@whetstone/core/util';
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
        hint: didYouMean(unknown[0] ?? '', names),
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

/** Formats a share: `41 %`, `0.5 %`. */
const percent = (share: number): string => `${Number((share * 100).toPrecision(share < 0.1 ? 1 : 2))} %`;

/** Names a group in a message. */
const groupName = (name: string): string => (name === '' ? 'the group without a value' : JSON.stringify(name));

/** What the balance asks for, and what an epoch draws. */
interface Outcome {
  readonly options: Required<BalanceOptions>;
  readonly groups: readonly (GroupShare & {
    /** The samples that the shares ask for. */
    readonly target: number;
  })[];
}

/** Reports each group that `maxRepeats` limits, and the shorter epoch. */
function limitedGroups({ options: { by, maxRepeats }, groups }: Outcome): string[] {
  const samples = groups.reduce((sum, group) => sum + group.samples, 0);
  const drawn = groups.reduce((sum, group) => sum + group.drawn, 0);
  const limited = groups.filter((group) => group.drawn < group.target);
  if (limited.length === 0) return [];
  const shares = limited.map(
    ({ name, target, drawn: own }) =>
      `${groupName(name)} gets ${percent(own / drawn)} of an epoch instead of ${percent(target / samples)}`,
  );
  const needed = Math.max(...limited.map((group) => Math.ceil((10 * group.target) / group.samples) / 10));
  return [
    `data.balance by ${JSON.stringify(by)} cannot be met: ${shares.join('; ')}. maxRepeats ${maxRepeats} limits how ` +
      `often a conversation occurs, and an epoch has ${drawn} conversations instead of ${samples}. Set maxRepeats to ` +
      `at least ${needed}, lower the ${limited.length === 1 ? 'share' : 'shares'}, or add conversations.`,
  ];
}

/** Reports groups that have a weight but are not in an epoch, and a temperature that all groups override. */
function unusedSettings({ options: { weights, temperature }, groups }: Outcome): string[] {
  const samples = groups.reduce((sum, group) => sum + group.samples, 0);
  const warnings = groups
    .filter(({ name, target }) => target === 0 && (ownValue(weights, name) ?? 1) > 0)
    .map(
      ({ name }) =>
        `data.balance draws no conversation of ${groupName(name)}: its weight is less than one of ${samples} ` +
        'conversations. Raise its weight, or set it to 0.',
    );
  const weighted = groups.every(({ name }) => ownValue(weights, name) !== undefined);
  if (temperature !== 1 && weighted)
    warnings.push(
      `data.balance.temperature ${temperature} has no effect: all groups have a weight. Remove the weights of the ` +
        'groups that it should concern, or the temperature.',
    );
  return warnings;
}

/** Returns why the balance changes nothing, and what would change something; null if it has an effect. */
function withoutEffect({ options: { by, weights, temperature }, groups }: Outcome): string | null {
  if (groups.some(({ samples, drawn }) => samples !== drawn)) return null;
  const prefix = `data.balance by ${JSON.stringify(by)} has no effect:`;
  const [first] = groups;
  if (groups.length === 1) {
    const group = first?.name === '' ? 'one group' : `the group ${groupName(first?.name ?? '')}`;
    return `${prefix} all conversations are in ${group}. Balance by a column with several values, or remove it.`;
  }
  if (Object.keys(weights).length > 0)
    return `${prefix} the weights are the shares of the data. Change "weights", or remove the balance.`;
  if (temperature === 1)
    return (
      `${prefix} temperature 1 without weights keeps the shares of the data. ` +
      'Set "temperature" above 1 (2 makes the groups more equal), or set "weights".'
    );
  return `${prefix} all groups have almost the same size. Set "weights" for other shares, or remove the balance.`;
}

/**
 * Draws the samples of an epoch according to the shares of groups. Each group is repeated completely, plus a random
 * subset, up to `maxRepeats` times. The epoch has as many samples as the data, unless `maxRepeats` limits a group.
 *
 * @returns the drawn samples, sorted, the size of each group, and a warning for each option that has no effect or
 *   cannot be met, with what it would take
 * @throws `CONFIG_CONFLICT` if weights name unknown groups, or leave no share for groups without a weight
 */
export function balanceSamples(
  { names, groupOf }: Groups,
  given: BalanceOptions,
  seed: number,
): { readonly samples: Int32Array; readonly shares: readonly GroupShare[]; readonly warnings: readonly string[] } {
  const options = { ...defaultsOf(balanceSchema), ...given };
  const members: number[][] = names.map(() => []);
  for (let sample = 0; sample < groupOf.length; sample++) members[groupOf[sample] ?? 0]?.push(sample);
  const counts = members.map(({ length }) => length);
  const shares = sharesOf(names, counts, options);
  const targets = shares.map((share) => Math.round(share * groupOf.length));
  const drawn = members.map((group, index) => {
    const target = Math.min(targets[index] ?? 0, Math.floor(options.maxRepeats * group.length));
    const copies = group.length === 0 ? 0 : Math.floor(target / group.length);
    const random = createRandom(seed, 'balance', names[index] ?? '');
    const rest = shuffle([...group], random).slice(0, target - copies * group.length);
    return [...Array.from({ length: copies }, () => group).flat(), ...rest];
  });
  const sizes = names.map((name, index) => ({
    name,
    samples: counts[index] ?? 0,
    drawn: drawn[index]?.length ?? 0,
  }));
  const outcome: Outcome = {
    options,
    groups: sizes.map((size, index) => ({ ...size, target: targets[index] ?? 0 })),
  };
  const useless = withoutEffect(outcome);
  return {
    samples: Int32Array.from(drawn.flat()).sort(),
    shares: sizes,
    warnings: useless === null ? [...limitedGroups(outcome), ...unusedSettings(outcome)] : [useless],
  };
}
