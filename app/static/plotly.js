// Plotly is big, so it is fetched when the page has come up, once.

let loading = null;

export function loadPlotly() {
  loading ??= new Promise((resolve, reject) => {
    const begin = () => {
      const script = document.createElement("script");
      script.src = new URL("../plotly/plotly.min.js", import.meta.url).href;
      script.onload = () => resolve(window.Plotly);
      script.onerror = reject;
      document.head.append(script);
    };
    if (window.requestIdleCallback) requestIdleCallback(begin, { timeout: 1500 });
    else setTimeout(begin, 300);
  });
  return loading;
}
