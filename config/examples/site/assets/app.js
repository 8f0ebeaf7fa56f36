document.querySelector("#place").textContent = location.pathname;
