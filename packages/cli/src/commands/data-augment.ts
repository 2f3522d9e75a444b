import { resolve } from 'node:path';
import { resolveBackend } from '@whetstone/backend';
import { rawConfigOf, resolveConfig } from '@whetstone/core/config';
import { createRegistry, loadPlugin } from '@whetstone/core/plugins';
import { WhetstoneError, type Conversation, type DataTransform, type PluginContext } from '@whetstone/core/contract';
import { writeAtomically } from '@whetstone/core/files';
import { applyTransforms, createConversationSource } from '@whetstone/data';
import { checkUnreadable, rowOf } from '@whetstone/data/internal';
import type { LayoutName } from '@whetstone/data/choices';
import { builtInPlugins, openGenerator } from '../built-ins.js';
import { transformTable } from '../format.js';
import { createTerminal, terminalLogger, type Terminal } from '../terminal.js';

export interface AugmentOptions {
  readonly out: string;
  /** Names of transforms, or `{"use", "options"}` as JSON. */
  readonly with: readonly string[];
  readonly layout?: string;
  readonly seed: number;
  readonly json?: boolean;
}

/** Validates the transforms of a command line and fills in their defaults, as for a configuration. */
async function openTransforms(given: readonly string[], seed: number, terminal: Terminal): Promise<DataTransform[]> {
  const uses = given.map((text): unknown => {
    if (!text.trimStart().startsWith('{')) return text;
    try {
      return JSON.parse(text) as unknown;
    } catch (cause) {
      throw new WhetstoneError('USAGE', `A transform is not valid JSON: ${(cause as Error).message}`, {
        found: text,
        expected: '{"use": "augment-synonyms", "options": {…}}',
        cause,
      });
    }
  });
  const baseFolder = process.cwd();
  const registry = createRegistry(builtInPlugins);
  // A configuration requires the other keys; they are not used.
  const raw = rawConfigOf({ model: '.', strategy: 'full', data: { train: '.', transforms: uses } }, baseFolder);
  const { config, pluginFor } = await resolveConfig(raw, {
    defaults: { dataSource: 'conversations' },
    load: (kind, use) => loadPlugin(kind, use, { registry, baseFolder, sharedModules: {} }),
  });
  const context: PluginContext = {
    logger: terminalLogger(terminal),
    seed,
    baseFolder,
    outputFolder: null,
    openGenerator: async (model) => {
      await resolveBackend({ name: 'auto', threads: null });
      return openGenerator(model);
    },
  };
  const transforms: DataTransform[] = [];
  for (const { use, options } of config.data.transforms)
    transforms.push((await pluginFor('data-transform', use).create(options as never, context)) as DataTransform);
  return transforms;
}

/** Returns a conversation as a line of JSON Lines. Augmented ones have `augmentedFrom`. */
function lineOf(conversation: Conversation): string {
  const { columns, origin } = conversation;
  if (columns?.['augmentation'] === undefined) return rowOf(conversation);
  const augmentedFrom = `${origin.file ?? ''}:${origin.line ?? origin.index + 1}`;
  return rowOf({ ...conversation, columns: { ...columns, augmentedFrom } });
}

/** `whetstone data augment FILES --out FILE`: writes the conversations and their augmented copies as JSON Lines. */
export async function dataAugment(paths: readonly string[], options: AugmentOptions): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const transforms = await openTransforms(options.with, options.seed, terminal);
  const source = applyTransforms(
    await createConversationSource(
      { path: paths, layout: (options.layout ?? 'auto') as LayoutName | 'auto' },
      process.cwd(),
    ),
    transforms,
  );
  const file = resolve(options.out);
  await writeAtomically(file, async (handle) => {
    for await (const conversation of source.conversations()) await handle.write(lineOf(conversation));
    checkUnreadable(source.unreadable);
  });
  terminal.line(transformTable(source.reports));
  terminal.line(`Written to ${file}`);
  terminal.result({ file, transforms: source.reports.map(({ removals: _removals, ...report }) => report) });
}
