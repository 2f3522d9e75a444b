import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { WhetstoneError, type Json } from '@whetstone/core/contract';

/** Chat templates of a model by name; `default` is the one that is used, `tool_use` where tools are given. */
export interface NamedTemplates {
  readonly templates: ReadonlyMap<string, string>;
  /** Where they were read from. */
  readonly file: string;
}

/**
 * Finds the chat template of a model folder: the path that is given (a file, or a folder to look in),
 * chat_template.jinja, or `chat_template` of tokenizer_config.json, as text or as a named list. Null where there is
 * none. Throws `TEMPLATE_FAILED`.
 */
export async function readTemplates(
  folder: string,
  config: Readonly<Record<string, Json>>,
  chatTemplatePath?: string | null,
): Promise<NamedTemplates | null> {
  if (chatTemplatePath !== undefined && chatTemplatePath !== null) {
    const isFolder = await stat(chatTemplatePath).then(
      (found) => found.isDirectory(),
      () => false,
    );
    const file = isFolder ? join(chatTemplatePath, 'chat_template.jinja') : chatTemplatePath;
    return single(file, await readTemplate(file));
  }
  const file = join(folder, 'chat_template.jinja');
  const found = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return null;
    throw unreadable(file, cause);
  });
  if (found !== null) return single(file, found);
  return configured(config['chat_template'], join(folder, 'tokenizer_config.json'));
}

function configured(written: Json | undefined, file: string): NamedTemplates | null {
  if (typeof written === 'string') return single(file, written);
  if (!Array.isArray(written)) return null;
  const templates = new Map<string, string>();
  for (const entry of written) {
    const isNamed =
      typeof entry === 'object' &&
      entry !== null &&
      !Array.isArray(entry) &&
      typeof entry['name'] === 'string' &&
      typeof entry['template'] === 'string';
    if (!isNamed)
      throw new WhetstoneError('TEMPLATE_FAILED', 'The list of chat templates is not a list of names and templates.', {
        place: { file, path: 'chat_template' },
        expected: '{"name": …, "template": …}',
        found: JSON.stringify(entry).slice(0, 80),
      });
    templates.set(String(entry['name']), String(entry['template']));
  }
  return templates.size === 0 ? null : { templates, file };
}

const single = (file: string, template: string): NamedTemplates => ({
  templates: new Map([['default', template]]),
  file,
});

async function readTemplate(file: string): Promise<string> {
  return readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw unreadable(file, cause);
  });
}

function unreadable(file: string, cause: Error): WhetstoneError {
  return new WhetstoneError('TEMPLATE_FAILED', 'The chat template cannot be read.', {
    place: { file },
    cause,
    hint: 'Check chatTemplatePath.',
  });
}
