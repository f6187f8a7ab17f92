import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.googlecode.jsonrpc4j.JsonRpcClientException;
import com.googlecode.jsonrpc4j.JsonRpcHttpClient;
import java.net.URL;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;
import okhttp3.sse.EventSource;
import okhttp3.sse.EventSourceListener;
import okhttp3.sse.EventSources;

/** Java's clients: Clients stream|call LIBRARY plain|set URL TOKEN. */
public class Clients {
    static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] words) throws Throwable {
        boolean set = words[2].equals("set");
        if (words[0].equals("stream")) {
            new Follower(set, words[3], words[4]).connect();
        } else {
            System.out.println(JSON.writeValueAsString(calls(words[3], words[4])));
        }
    }

    /** Follows /subscribe; a line for each event: `event [TYPE, ID, LENGTH OF DATA]`. */
    static class Follower extends EventSourceListener {
        final boolean set;
        final String url, token;
        final EventSource.Factory factory;
        String last;

        Follower(boolean set, String url, String token) {
            OkHttpClient client = new OkHttpClient();
            if (set) {
                client = client.newBuilder().readTimeout(Duration.ZERO).build();
            }
            factory = EventSources.createFactory(client);
            this.set = set;
            this.url = url;
            this.token = token;
        }

        void connect() {
            Request.Builder request = new Request.Builder().url(url).header("Authorization", "Bearer " + token);
            if (last != null) {
                request.header("Last-Event-ID", last);
            }
            factory.newEventSource(request.build(), this);
        }

        @Override
        public void onEvent(EventSource source, String id, String type, String data) {
            last = id != null ? id : last;
            synchronized (System.out) {
                System.out.printf("event [\"%s\", \"%s\", %d]%n", type, id, data.length());
            }
        }

        @Override
        public void onClosed(EventSource source) {
            again("it ended");
        }

        @Override
        public void onFailure(EventSource source, Throwable error, Response response) {
            again(error + " " + response);
        }

        void again(String reason) {
            System.err.println(reason);
            if (!set) {
                System.exit(1);
            }
            try {
                Thread.sleep(500);
            } catch (InterruptedException stopped) {
                return;
            }
            connect();
        }
    }

    /** Calls /rpc, with the work as JSON on stdin; test/clients/calls.py has it, and what is said of it. */
    static Map<String, Object> calls(String url, String token) throws Throwable {
        JsonNode work = JSON.readTree(System.in);
        JsonRpcHttpClient client = new JsonRpcHttpClient(new URL(url), Map.of("Authorization", "Bearer " + token));
        Map<String, Object> said = new LinkedHashMap<>();
        for (String part : List.of("calls", "named")) {
            List<Object> results = new ArrayList<>();
            for (JsonNode call : work.get(part)) {
                results.add(one(client, call));
            }
            said.put(part, results);
        }
        said.put("batch", "none");
        said.put("notification", "none");
        return said;
    }

    static Map<String, Object> one(JsonRpcHttpClient client, JsonNode call) throws Throwable {
        JsonNode params = call.get("params");
        Object given = params.isArray() ? JSON.convertValue(params, Object[].class) : JSON.convertValue(params, Map.class);
        Map<String, Object> shown = new LinkedHashMap<>();
        try {
            shown.put("result", client.invoke(call.get("method").asText(), given, JsonNode.class));
        } catch (JsonRpcClientException refused) {
            Map<String, Object> error = new LinkedHashMap<>();
            error.put("code", refused.getCode());
            error.put("message", refused.getMessage());
            error.put("data", refused.getData());
            shown.put("error", error);
        }
        return shown;
    }
}
