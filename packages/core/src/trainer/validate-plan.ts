import { WhetstoneError, type Problem, type StrategyPlan } from '../contract/index.js';
import { isRecord, unknownMembers } from '../util/index.js';

const members = [
  'trainable',
  'effectiveWeights',
  'unusedOptions',
  'virtualTokens',
] as const satisfies readonly (keyof StrategyPlan)[];
const optionMembers = ['path', 'reason', 'effect'];

const isShape = (value: unknown): boolean =>
  Array.isArray(value) && value.every((size) => Number.isInteger(size) && (size as number) >= 0);

/** Returns the problem of a map of shapes by name. */
function shapeProblems(shapes: unknown, path: string): readonly Problem[] {
  const place = { path: `plan().${path}` };
  if (!(shapes instanceof Map))
    return [{ message: `${path} of the plan is not a Map.`, place, expected: 'a Map of shapes by parameter name' }];
  return [...(shapes as ReadonlyMap<unknown, unknown>)]
    .filter(([name, shape]) => typeof name !== 'string' || name === '' || !isShape(shape))
    .map(([name]) => ({
      message: `${path} of the plan contains a value that is not a shape.`,
      place: { ...place, tensor: String(name) },
      expected: 'a list of whole numbers',
    }));
}

/** Returns the problems of options that change nothing. */
export function unusedOptionProblems(options: unknown, where: string): readonly Problem[] {
  const expected = 'a list of { path, reason }';
  if (!Array.isArray(options)) return [{ message: `${where} is not a list.`, place: { path: where }, expected }];
  return (options as readonly unknown[]).flatMap((option, index): readonly Problem[] => {
    const place = { path: `${where}[${index}]` };
    if (!isRecord(option) || typeof option['path'] !== 'string' || typeof option['reason'] !== 'string')
      return [{ message: `An entry of ${where} has no path or no reason.`, place, expected: '{ path, reason }' }];
    return unknownMembers(option, optionMembers).map(({ name, hint }) => ({
      message: `An entry of ${where} has an unknown key: ${name}.`,
      place,
      hint,
    }));
  });
}

function planProblems(plan: unknown): readonly Problem[] {
  if (!isRecord(plan)) return [{ message: 'It is not an object.', expected: 'an object with trainable' }];
  const { trainable, effectiveWeights, unusedOptions, virtualTokens } = plan;
  return [
    ...unknownMembers(plan, members).map(({ name, hint }) => ({
      message: `It has an unknown key: ${name}.`,
      place: { path: `plan().${name}` },
      hint,
    })),
    ...shapeProblems(trainable, 'trainable'),
    ...(effectiveWeights === undefined ? [] : shapeProblems(effectiveWeights, 'effectiveWeights')),
    ...(unusedOptions === undefined ? [] : unusedOptionProblems(unusedOptions, 'plan().unusedOptions')),
    ...(virtualTokens === undefined || (Number.isInteger(virtualTokens) && (virtualTokens as number) >= 0)
      ? []
      : [
          {
            message: 'virtualTokens is not a number of tokens.',
            place: { path: 'plan().virtualTokens' },
            expected: 'a whole number of at least 0',
            found: String(virtualTokens),
          },
        ]),
  ];
}

/**
 * Validates the plan of a strategy.
 *
 * @throws `PLUGIN_INVALID` with all problems
 */
export function validatePlan(plan: unknown, plugin: string): asserts plan is StrategyPlan {
  const [first, ...rest] = planProblems(plan);
  if (first !== undefined)
    throw new WhetstoneError('PLUGIN_INVALID', `Strategy '${plugin}' returned an invalid plan. ${first.message}`, {
      ...first,
      problems: rest,
      details: { plugin, kind: 'strategy' },
    });
}
