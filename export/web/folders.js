// Whole folders: which files are pictures, and which class a folder stands for.

const SYSTEM = /^(\..*|__MACOSX|@eaDir|\$RECYCLE\.BIN|System Volume Information|Thumbs\.db|desktop\.ini|Icon\r)$/i;
const UNLABELLED = /^(unlabelled|unlabeled|new|query|queries)$/i;

/** Files of an input, as [{file, path}]: as they were chosen, or of a folder by their paths, which begin with it. */
export function listed(files) {
  const all = [...files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
  return inOrder(all.filter(({ path }) => !isSystem(path)));
}

/**
 * Files of what is dropped, folders with all that is in them. Must be called while the event is handled.
 *
 * @param {DataTransfer} transfer
 * @return {Promise<{file: File, path: string}[]>}
 */
export async function dropped(transfer) {
  const found = [...transfer.items]
    .filter(({ kind }) => kind === 'file')
    .map((item) => {
      const entry = item.webkitGetAsEntry?.();
      const file = item.getAsFile();
      return entry?.isDirectory ? filesIn(entry, '') : [{ file, path: file.name }];
    });
  return inOrder((await Promise.all(found)).flat().filter(({ path }) => !isSystem(path)));
}

/**
 * Sorts the files of folders into classes: a picture is of the class of the folder that it lies in. Pictures that lie
 * beside the class folders, or in one called unlabelled, new or query, have no class.
 *
 * @param {{file: File, path: string}[]} files
 * @return {{classes: Map<string, File[]>, unlabelled: File[]}}
 */
export function byClass(files) {
  const tops = new Set(files.map(({ path }) => path.split('/')[0]));
  // Of one folder alone the name says nothing.
  const inside = tops.size === 1 && files.every(({ path }) => path.includes('/')) ? 1 : 0;
  const classes = new Map();
  const unlabelled = [];
  for (const { file, path } of files) {
    const name = path.split('/').slice(inside, -1).at(-1);
    if (name === undefined || UNLABELLED.test(name)) unlabelled.push(file);
    else classes.set(name, [...(classes.get(name) ?? []), file]);
  }
  return { classes, unlabelled };
}

async function filesIn(entry, folder) {
  const path = `${folder}${entry.name}`;
  if (isSystem(entry.name)) return [];
  if (entry.isFile) return [{ path, file: await new Promise((done, failed) => entry.file(done, failed)) }];
  const entries = await entriesOf(entry.createReader());
  return (await Promise.all(entries.map((one) => filesIn(one, `${path}/`)))).flat();
}

/** A reader gives a part at a time, and nothing when it is done. */
async function entriesOf(reader) {
  const all = [];
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (some.length === 0) return all;
    all.push(...some);
  }
}

function isSystem(path) {
  return path.split('/').some((name) => SYSTEM.test(name));
}

function inOrder(files) {
  if (!files.some(({ path }) => path.includes('/'))) return files;
  const { compare } = new Intl.Collator('en', { numeric: true });
  return files.sort((one, other) => compare(one.path, other.path));
}
