import type { ResolvedConfig } from '../../config/types.js';
import {
  WhetstoneError,
  defineToken,
  isWhetstoneError,
  type ModelOutline,
  type Strategy,
  type StrategyPlan,
  type Token,
  type UnusedOption,
} from '../../contract/index.js';
import { provideFactory, type ServiceRegistration } from '../../container.js';
import type { Named, Owner } from '../../training/named.js';
import { messageOf } from '../../util/index.js';
import { validatePlan } from '../validate-plan.js';
import type { RunContext } from './context.js';
import { PLUGINS, type ConfiguredPlugins } from './plugins.js';

/** The strategies of a run: the owner chooses the trained parameters, companions accompany it. */
export interface RunStrategies {
  readonly owner: Owner;
  readonly companions: readonly Named<Strategy>[];
}

/** The strategies of the run. The owner also decides how weights are stored. */
export const STRATEGIES: Token<RunStrategies> = defineToken('STRATEGIES');

/** Registers the strategies of the configuration. */
export const strategyServices = ({ resolution }: RunContext): readonly ServiceRegistration[] => [
  provideFactory(STRATEGIES, async (services) => {
    const { config } = resolution;
    const strategies = await createStrategies(config, await services.resolve(PLUGINS));
    const { use } = config.strategy;
    const { name, version = null, adapter } = resolution.pluginFor('strategy', use);
    const owner: Owner = { ...strategies.owner, origin: { use, name, version } };
    return { ...strategies, owner: adapter === undefined ? owner : { ...owner, adapter } };
  }),
];

/**
 * Creates the strategies of a configuration.
 *
 * @throws `CONFIG_CONFLICT` if a strategy does not have the role of its key
 */
async function createStrategies(
  { strategy, companions }: Pick<ResolvedConfig, 'strategy' | 'companions'>,
  plugins: ConfiguredPlugins,
): Promise<RunStrategies> {
  const named = (instance: Strategy): Named<Strategy> => plugins.named(instance, 'a strategy');
  const owner = requireRole(
    named(await plugins.create('strategy', strategy, ['strategy', 'options'])),
    'owner',
    'strategy.use',
  );
  const others = await plugins.createAll('strategy', companions, ['companions']);
  return {
    owner,
    companions: others.map((instance, index) =>
      requireRole(named(instance), 'companion', `companions[${index}].use`, owner.plugin),
    ),
  };
}

/**
 * Returns the strategy if it has this role.
 *
 * @param owner the owner's name, for the error of a companion
 * @throws `CONFIG_CONFLICT`
 */
function requireRole(strategy: Named<Strategy>, role: Strategy['role'], path: string, owner?: string): Named<Strategy> {
  if (strategy.instance.role === role) return strategy;
  throw new WhetstoneError(
    'CONFIG_CONFLICT',
    role === 'owner'
      ? `'${strategy.plugin}' does not choose the trained parameters. It can only accompany a strategy that does.`
      : `'${strategy.plugin}' and '${owner ?? 'the strategy'}' both choose the trained parameters. Only one can.`,
    {
      place: { path },
      expected: role === 'owner' ? 'a strategy of the role owner' : 'a strategy of the role companion',
      found: `'${strategy.plugin}', role ${String(strategy.instance.role)}`,
      hint:
        role === 'owner'
          ? 'Move it to companions, and set the strategy to one like full or lora.'
          : 'Set it as the strategy, in place of the current one.',
    },
  );
}

/** What the strategies of a run say about the model, before its weights are read. */
export interface StrategyPlans {
  readonly unusedOptions: readonly UnusedOption[];
  /** The number of positions that the owner adds before each text. */
  readonly virtualTokens: number;
  /** The names of the parameters that the owner will train; null if it has no plan. */
  readonly trainable: readonly string[] | null;
}

/** Lets the strategies reject options that do not fit the model, before its weights are read. */
export async function planStrategies(
  { owner, companions }: RunStrategies,
  model: ModelOutline | null,
): Promise<StrategyPlans> {
  if (model === null) return { unusedOptions: [], virtualTokens: 0, trainable: null };
  const plan = await planOf(owner, model, null);
  const unusedOptions = [...(plan?.unusedOptions ?? [])];
  for (const [index, { plugin, instance }] of companions.entries()) {
    try {
      const own = await planOf({ plugin, instance }, model, plan);
      unusedOptions.push(...(own?.unusedOptions ?? []));
    } catch (cause) {
      throw nameBothStrategies(cause, plugin, owner.plugin, `companions[${index}]`);
    }
  }
  return {
    unusedOptions,
    virtualTokens: plan?.virtualTokens ?? 0,
    trainable: plan === null ? null : [...plan.trainable.keys()],
  };
}

/** Returns the validated plan of a strategy; null if it makes none. */
async function planOf(
  { plugin, instance }: Named<Strategy>,
  model: ModelOutline,
  owner: StrategyPlan | null,
): Promise<StrategyPlan | null> {
  if (instance.plan === undefined) return null;
  let plan: unknown;
  try {
    plan = await instance.plan(model, owner);
  } catch (cause) {
    if (isWhetstoneError(cause)) throw cause;
    throw new WhetstoneError('PLUGIN_FAILED', `plan of strategy '${plugin}' failed: ${messageOf(cause)}`, {
      details: { plugin, kind: 'strategy' },
      cause,
    });
  }
  validatePlan(plan, plugin);
  return plan;
}

/** Adds the names of both strategies to a conflict. A companion knows the owner's plan, but not its name. */
function nameBothStrategies(cause: unknown, companion: string, owner: string, path: string): unknown {
  if (!isWhetstoneError(cause) || cause.code !== 'CONFIG_CONFLICT') return cause;
  const found = `'${companion}' with '${owner}'`;
  return WhetstoneError.with(cause, { place: { ...cause.place, path }, found, cause });
}
