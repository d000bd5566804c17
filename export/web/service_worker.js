// Keeps the page for when there is no network: all of its files of one version, which is what is in them.
//
// The server's version.json lists files with the SHA-256 of each. Every visit compares it with what is kept; what
// changed is fetched anew, and takes the place of all that was before at once. Without a list nothing is kept.

const LIST = 'version.json';
// Of the runtime's four forms a browser needs one, and the model comes last: kept once they are asked for.
const LATER = /^node_modules\/|\.tflite$/;
// Longer nobody waits for a page that is there already; the rest comes behind it.
const PATIENCE = 4000;

self.addEventListener('install', (event) => event.waitUntil(update().then(() => self.skipWaiting())));
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));
self.addEventListener('fetch', (event) => {
  const name = nameOf(event.request);
  if (name === null || name === LIST) return;
  event.respondWith(event.request.mode === 'navigate' ? visited(event, name) : kept(event.request, name));
});

async function visited(event, name) {
  const updated = update().catch(() => null); // Offline.
  event.waitUntil(updated);
  await Promise.race([updated, new Promise((go) => setTimeout(go, PATIENCE))]);
  return kept(event.request, name);
}

async function kept(request, name) {
  const cache = await current();
  const found = await cache?.match(name);
  if (found) return found;
  const { [name]: digest } = cache ? await listOf(cache) : {};
  return digest ? fetched(cache, name, digest) : fetch(request);
}

let updating = null;

/** Makes what is kept that of the server's list; one at a time. */
function update() {
  updating ??= updateOnce().finally(() => (updating = null));
  return updating;
}

async function updateOnce() {
  const response = await fetch(LIST, { cache: 'no-store' });
  if (!response.ok) return response.status === 404 ? retire() : null;
  const text = await response.text();
  const key = `sib_tf ${await sha256(new TextEncoder().encode(text))}`;
  const before = await current();
  const cache = await caches.open(key);
  if (await cache.match(LIST)) return null;
  const had = before ? await listOf(before) : {};
  for (const [name, digest] of Object.entries(JSON.parse(text))) {
    const old = await before?.match(name);
    if (old && had[name] === digest) await cache.put(name, old);
    else if (old || !LATER.test(name)) await fetched(cache, name, digest);
  }
  // The list is the last: what has it is whole.
  await cache.put(LIST, new Response(text));
  for (const other of await caches.keys()) if (other !== key) await caches.delete(other);
  return null;
}

/** Another site has this address now: it shall have its own files. */
async function retire() {
  for (const key of await caches.keys()) await caches.delete(key);
  await self.registration.unregister();
}

/** Fetches a file and keeps it, if it is the one that was asked for. */
async function fetched(cache, name, digest) {
  const response = await fetch(name, { cache: 'no-cache' });
  const found = await sha256(await response.clone().arrayBuffer());
  if (found === digest) await cache.put(name, response.clone());
  // Files were changed after the list was made. The next visit sees a whole list again.
  else if (!(await cache.match(LIST))) throw new Error(`${name} is not that of ${LIST}`);
  return response;
}

/** The cache that is whole; undefined where none is yet. */
async function current() {
  for (const key of await caches.keys()) {
    const cache = await caches.open(key);
    if (await cache.match(LIST)) return cache;
  }
  return undefined;
}

async function listOf(cache) {
  return (await cache.match(LIST)).json();
}

/** The name of a file of the page; null for what is not one. */
function nameOf({ method, url }) {
  const scope = self.registration.scope;
  const address = url.split(/[?#]/)[0];
  if (method !== 'GET' || !address.startsWith(scope)) return null;
  return address.slice(scope.length) || 'index.html';
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
