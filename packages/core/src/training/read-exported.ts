import { WhetstoneError, isWhetstoneError } from '../contract/errors.js';
import type { LanguageModel } from '../contract/model.js';
import type { Attachment } from '../contract/strategy.js';
import { messageOf, isRecord } from '../util/index.js';
import type { Owner } from './named.js';

/** The types of PEFT whose adapters are compared with their configuration, and read by built-in strategies. */
const checkedTypes: readonly unknown[] = ['LORA', 'IA3', 'PREFIX_TUNING', 'PROMPT_TUNING', 'P_TUNING'];

/**
 * Reads the adapter that a strategy exports with the reader of its plugin, so that a run does not end in an adapter
 * that nothing can read. Does nothing for types of PEFT that built-in strategies read.
 *
 * @throws `PLUGIN_INVALID` if the reader does not read the type of the adapter
 * @throws `PLUGIN_FAILED` if the reader fails
 */
export async function readExported({ plugin, adapter }: Owner, owner: Attachment, model: LanguageModel): Promise<void> {
  const exported = adapter === undefined ? undefined : owner.exportAdapter?.();
  if (adapter === undefined || exported === undefined) return;
  const type = isRecord(exported.config) ? exported.config['peft_type'] : undefined;
  if (checkedTypes.includes(type)) return;
  if (!adapter.peftTypes.some((name) => name === type))
    throw new WhetstoneError('PLUGIN_INVALID', `Strategy '${plugin}' exports an adapter that it does not read.`, {
      place: { path: 'exportAdapter().config.peft_type' },
      expected: `a type of adapter.peftTypes: ${adapter.peftTypes.join(', ')}`,
      found: String(type),
      details: { plugin, kind: 'strategy' },
    });
  try {
    const read = await adapter.load(model, { config: exported.config, tensors: exported.tensors });
    if (isRecord(read) && typeof read.dispose === 'function') read.dispose();
  } catch (cause) {
    throw new WhetstoneError(
      'PLUGIN_FAILED',
      `adapter.load of strategy '${plugin}' does not read what the strategy exports: ${messageOf(cause)}`,
      {
        ...(isWhetstoneError(cause) ? { place: cause.place, problems: cause.problems } : {}),
        details: { plugin, kind: 'strategy' },
        cause,
      },
    );
  }
}
