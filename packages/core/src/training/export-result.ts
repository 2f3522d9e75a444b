import { join } from 'node:path';
import {
  copyCompanionFiles,
  copyTemplate,
  writeCompanions,
  writeOrigin,
  writeStopTokens,
  writeTrained,
  type AdapterOrigin,
} from '../checkpoint/index.js';
import type { LoadedModel } from '../contract/model.js';
import type { Attachment } from '../contract/strategy.js';
import { writeFolder, writeResultManifest } from '../files/index.js';

/**
 * Writes the result of a run: `adapter/` in PEFT's layout, or `model/` as a Hugging Face folder. Returns the folder.
 */
export async function exportResult(
  root: string,
  loaded: LoadedModel,
  owner: Attachment,
  chatTemplatePath: string | null,
  origin: AdapterOrigin | null,
): Promise<string> {
  const isAdapter = owner.exportAdapter !== undefined;
  const folder = join(root, isAdapter ? 'adapter' : 'model');
  await writeFolder(folder, async (temporary) => {
    await writeTrained(temporary, loaded.model, owner);
    if (!isAdapter) await copyCompanionFiles(temporary, loaded, chatTemplatePath);
    else {
      // The adapter needs added tokens and the run's template. Without them, it would receive different tokens.
      await writeCompanions(temporary, loaded);
      if (origin !== null) await writeOrigin(temporary, origin);
      await copyTemplate(temporary, chatTemplatePath);
    }
    await writeStopTokens(temporary, loaded, isAdapter);
    await writeResultManifest(temporary);
  });
  return folder;
}
