import type { ConfigResolution } from '../../config/index.js';
import { isObject, valueAt } from '../../config/slots.js';
import {
  WhetstoneError,
  isWhetstoneError,
  type Json,
  type PluginInstances,
  type Schedule,
  type ScheduleInputs,
  type UnusedOption,
} from '../../contract/index.js';
import { messageOf } from '../../util/index.js';
import { countWarmupSteps } from '../../schedules/warmup.js';

type CreateSchedule = PluginInstances['schedule'];

/** The schedule of a run. */
export interface CheckedSchedule {
  readonly instance: CreateSchedule;
  /** Creates the schedule of the configuration with other options; null if the application provides the schedule. */
  readonly recreate: ((options: Readonly<Record<string, Json>>) => CreateSchedule | Promise<CreateSchedule>) | null;
}

/** At most so many steps at the start, at the end and in between are compared. */
const COMPARED_STEPS = 4096;

/** Returns the steps at which schedules are compared: all of them in a short run. */
function comparedSteps(totalSteps: number): readonly number[] {
  const stride = Math.max(1, Math.floor(totalSteps / COMPARED_STEPS));
  const steps = new Set<number>();
  for (let step = 0; step < Math.min(totalSteps, COMPARED_STEPS); step++) steps.add(step).add(totalSteps - 1 - step);
  for (let step = 0; step < totalSteps; step += stride) steps.add(step);
  return [...steps];
}

/**
 * Returns the options of the schedule that change nothing: those without which every step has the same learning rate.
 *
 * @param mayChange whether a callback may set the learning rate
 * @throws `CONFIG_CONFLICT` if every step has the learning rate 0, so that nothing would be trained
 * @throws the errors of {@link factorsOf}
 */
export async function checkSchedule(
  { instance, recreate }: CheckedSchedule,
  resolution: ConfigResolution,
  totalSteps: number,
  mayChange: boolean,
): Promise<readonly UnusedOption[]> {
  const { learningRate } = resolution.config.optimizer;
  const inputs = { totalSteps, learningRate };
  const steps = comparedSteps(totalSteps);
  const { use } = resolution.config.schedule;
  const factors = (create: CreateSchedule): readonly number[] => factorsOf(create, inputs, steps, use);
  const own = factors(instance);
  if (!mayChange && own.every((factor) => Math.fround(factor * learningRate) === 0))
    throw nothingTrained(resolution, totalSteps);
  if (recreate === null) return [];
  const { use: _use, ...options } = resolution.config.schedule;
  const schema = resolution.pluginFor('schedule', use).configSchema;
  const unused: UnusedOption[] = [];
  for (const [key, value] of Object.entries(options)) {
    const property = valueAt(schema, ['properties', key]);
    const byDefault = isObject(property) ? (property['default'] as Json | undefined) : undefined;
    const isRequired = (valueAt(schema, ['required']) as readonly string[] | undefined)?.includes(key) ?? false;
    const isWritten = resolution.wasWritten(['schedule', key]) && value !== byDefault;
    if (!isWritten || (isRequired && byDefault === undefined)) continue;
    const { [key]: _, ...others } = options;
    const without = factors(await recreate(byDefault === undefined ? others : { ...others, [key]: byDefault }));
    if (without.every((factor, index) => factor === own[index]))
      unused.push({ path: `schedule.${key}`, reason: 'every step has the same learning rate without it' });
  }
  return unused.some(({ path }) => path === 'schedule.warmupSteps')
    ? unused
    : [...unused, ...longWarmup(resolution, totalSteps)];
}

/**
 * Returns the factors of a schedule at some steps.
 *
 * @throws `PLUGIN_INVALID` if it does not return finite numbers of at least 0
 * @throws `PLUGIN_FAILED` if it throws another error
 */
function factorsOf(
  create: CreateSchedule,
  inputs: ScheduleInputs,
  steps: readonly number[],
  plugin: string,
): readonly number[] {
  const invalid = (message: string, expected: string, found: unknown): WhetstoneError =>
    new WhetstoneError('PLUGIN_INVALID', `The schedule '${plugin}' ${message}.`, {
      place: { path: 'schedule' },
      expected,
      found: typeof found === 'number' ? String(found) : typeof found,
      details: { plugin, kind: 'schedule' },
    });
  try {
    const schedule: unknown = create(inputs);
    if (typeof schedule !== 'function')
      throw invalid('did not return a function', 'a function of the number of updates', schedule);
    return steps.map((step) => {
      const factor: unknown = (schedule as Schedule)(step);
      if (typeof factor !== 'number' || !Number.isFinite(factor))
        throw invalid(`returned no number at step ${step}`, 'a finite factor of the learning rate', factor);
      return factor;
    });
  } catch (cause) {
    if (isWhetstoneError(cause)) throw cause;
    throw new WhetstoneError('PLUGIN_FAILED', `The schedule '${plugin}' failed: ${messageOf(cause)}`, {
      place: { path: 'schedule' },
      details: { plugin, kind: 'schedule' },
      cause,
    });
  }
}

/** Returns a warmup that does not end within the run. */
function longWarmup(
  { config: { schedule, optimizer } }: ConfigResolution,
  totalSteps: number,
): readonly UnusedOption[] {
  const { warmupSteps } = schedule;
  if (typeof warmupSteps !== 'number') return [];
  const steps = countWarmupSteps(warmupSteps, { totalSteps, learningRate: optimizer.learningRate });
  if (steps < totalSteps) return [];
  return [
    {
      path: 'schedule.warmupSteps',
      effect: 'is too large',
      reason: `the warmup has ${steps} steps and the run only ${totalSteps}, so no step has optimizer.learningRate`,
    },
  ];
}

function nothingTrained({ config, wasWritten }: ConfigResolution, totalSteps: number): WhetstoneError {
  const { learningRate } = config.optimizer;
  const path = wasWritten(['schedule', 'warmupSteps']) ? 'schedule.warmupSteps' : 'optimizer.learningRate';
  return new WhetstoneError('CONFIG_CONFLICT', 'Nothing would be trained: every step has the learning rate 0.', {
    place: { path },
    expected: 'a learning rate above 0 in at least one step',
    found: `optimizer.learningRate ${learningRate} with the schedule ${config.schedule.use} over ${totalSteps} step(s)`,
    hint: 'The first step of a warmup has the learning rate 0: shorten the warmup, or train more steps.',
  });
}
