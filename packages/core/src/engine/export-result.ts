import { join } from 'node:path';
import { copyCompanionFiles, copyTemplate, writeFolder, writeTrained } from '../checkpoint/index.js';
import type { LanguageModel } from '../contract/model.js';
import type { Attachment } from '../contract/strategy.js';

/** Writes what a run leaves behind: `adapter/` in PEFT's layout, or `model/` as a Hugging Face folder. Returns the folder. */
export async function exportResult(root: string, model: LanguageModel, owner: Attachment, chatTemplatePath: string | null): Promise<string> {
  const isAdapter = owner.exportAdapter !== undefined;
  const folder = join(root, isAdapter ? 'adapter' : 'model');
  await writeFolder(folder, async (temporary) => {
    await writeTrained(temporary, model, owner);
    await (isAdapter ? copyTemplate(temporary, chatTemplatePath) : copyCompanionFiles(temporary, model, chatTemplatePath));
  });
  return folder;
}
