// Being there without a network, where the server lists the page's files (service_worker.js).

// Milliseconds that a first visit waits at most, so that what it loads afterwards is kept.
const PATIENCE = 60_000;

/** Keeps this page for visits without a network; resolves when what is loaded from now on is kept, or cannot be. */
export async function keepOffline() {
  const container = navigator.serviceWorker;
  // Who is visited through the service worker has it already, and the browser looks for a newer one by itself.
  if (!container || container.controller) return;
  try {
    if (!(await isListed())) return;
    const kept = new Promise((go) => container.addEventListener('controllerchange', go, { once: true }));
    const registration = await container.register('service_worker.js');
    // Without one although it is active: the visitor has reloaded past it.
    if (registration.active) return;
    await Promise.race([kept, failed(registration.installing), new Promise((go) => setTimeout(go, PATIENCE))]);
  } catch {
    // A browser that keeps nothing shows the page all the same.
  }
}

function failed(worker) {
  return new Promise((go) => {
    worker?.addEventListener('statechange', () => worker.state === 'redundant' && go());
  });
}

async function isListed() {
  return (await fetch('version.json', { cache: 'no-store' })).ok;
}
