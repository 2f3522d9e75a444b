import { join } from 'node:path';
import {
  copyCompanionFiles,
  copyTemplate,
  writeCompanions,
  writeJson,
  writeStopTokens,
  writeTrained,
} from '../checkpoint/index.js';
import type { LoadedModel } from '../contract/model.js';
import type { Attachment } from '../contract/strategy.js';
import { writeFolder, writeResultManifest } from '../files/index.js';
import type { StrategyOrigin } from './named.js';

/** Names the strategy that trained an adapter. Commands find its plugin by this file (`strategies/adapters`). */
const ORIGIN_FILE = 'whetstone.json';

/**
 * Writes the result of a run: `adapter/` in PEFT's layout, or `model/` as a Hugging Face folder. Returns the folder.
 */
export async function exportResult(
  root: string,
  loaded: LoadedModel,
  owner: Attachment,
  chatTemplatePath: string | null,
  origin: StrategyOrigin | null,
): Promise<string> {
  const isAdapter = owner.exportAdapter !== undefined;
  const folder = join(root, isAdapter ? 'adapter' : 'model');
  await writeFolder(folder, async (temporary) => {
    await writeTrained(temporary, loaded.model, owner);
    if (!isAdapter) await copyCompanionFiles(temporary, loaded, chatTemplatePath);
    else {
      // The adapter needs added tokens and the run's template. Without them, it would receive different tokens.
      await writeCompanions(temporary, loaded);
      if (origin !== null) await writeJson(join(temporary, ORIGIN_FILE), { strategy: origin });
      await copyTemplate(temporary, chatTemplatePath);
    }
    await writeStopTokens(temporary, loaded, isAdapter);
    await writeResultManifest(temporary);
  });
  return folder;
}
